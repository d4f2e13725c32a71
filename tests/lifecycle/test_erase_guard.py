"""The guard and the change trigger let an erasure through, and nothing else."""

from __future__ import annotations

import json

import pytest
from psycopg import errors

from step_audit.database import Connection, call
from tests.lifecycle.test_changes import changes, engine, run  # noqa: F401 (a fixture)
from tests.lifecycle.test_erase import (
    ANOMALIES,
    AUDIT,
    LEAVES,
    MARKER,
    PLAIN,
    SALTS,
    SCHEMA,
    erase,
    erasures,
    record,
    rewrite,
    rows,
)
from tests.lifecycle.test_operator_actions import EVENTS
from tests.lifecycle.test_sealed_changes import CHANGES, seal
from tests.support.host import HOST, Transition, insert_each


@pytest.fixture
def settled(conn: Connection) -> Transition:
    """A sealed result with a change and an anomaly."""
    result = record(conn, PLAIN | {"worker_uuid": MARKER})
    rewrite(conn, result, {"event": {"note": MARKER}})
    seal(conn)
    return result


UPDATES = [
    f"UPDATE {CHANGES} SET metadata = NULL",
    f"UPDATE {ANOMALIES} SET raw_value = NULL",
    f"UPDATE {EVENTS} SET payload = NULL",
    f"UPDATE {CHANGES} SET to_state = 'error'",
    f"UPDATE {AUDIT} SET success = NULL",
    f"UPDATE {LEAVES} SET leaf_hash = ''",
    f"UPDATE {SALTS} SET salt = ''",
    f"DELETE FROM {SALTS}",
    f"DELETE FROM {CHANGES}",
    f"TRUNCATE {SALTS}",
]


@pytest.mark.parametrize("statement", UPDATES)
@pytest.mark.parametrize(
    "setting", ["", "SET step_audit.erasing = 'on'", "SET session_replication_role = replica"]
)
def test_without_an_event_of_its_transaction_nothing_goes(
    conn: Connection, settled: Transition, statement: str, setting: str
) -> None:
    action = Transition(settled.step, "cancelled", "{}", 7, "pending")
    insert_each(conn, [action])
    other = record(conn)
    seal(conn)
    # Of transactions that have ended.
    erase(conn, other)
    erase(conn, action)
    for leaf_index in range(6):
        forge(conn, leaf_index, settled)
    if setting:
        run(conn, setting)
    with pytest.raises(errors.InsufficientPrivilege, match="is append-only"):
        run(conn, statement)


def forge(conn: Connection, leaf_index: int, transition: Transition) -> None:
    run(
        conn,
        f"INSERT INTO {EVENTS} (kind, workflow_step_transition_uuid, payload) "
        "VALUES ('erased', %s, %s)",
        transition.transition_uuid,
        json.dumps(
            {"leaves": [[leaf_index, "00" * 32, None, None]], "reason": "r", "operator": None}
        ),
    )


def index_of(conn: Connection, kind: str) -> int:
    (row,) = rows(conn, f"SELECT leaf_index AS it FROM {LEAVES} WHERE kind = %s", kind)
    found: int = row["it"]
    return found


@pytest.mark.parametrize(
    ("named", "statement", "goes"),
    [
        ("change", f"UPDATE {CHANGES} SET metadata = NULL", True),
        ("result", f"UPDATE {CHANGES} SET metadata = NULL", False),
        ("change", f"UPDATE {CHANGES} SET metadata = '{{}}'", False),
        ("change", f"UPDATE {CHANGES} SET metadata = NULL, recorded_by = 'me'", False),
        ("change", f"UPDATE {CHANGES} SET recorded_by = 'me'", False),
        ("change", f"DELETE FROM {CHANGES}", False),
        ("result", f"UPDATE {ANOMALIES} SET raw_value = NULL", True),
        ("change", f"UPDATE {ANOMALIES} SET raw_value = NULL", False),
        ("result", f"UPDATE {ANOMALIES} SET raw_value = 'x'", False),
        ("result", f"UPDATE {ANOMALIES} SET raw_value = NULL, reason = 'none'", False),
        ("result", f"DELETE FROM {ANOMALIES}", False),
        ("result", f"UPDATE {AUDIT} SET recorded_by = NULL", False),
        ("result", f"DELETE FROM {LEAVES}", False),
        ("result", f"DELETE FROM {SALTS} WHERE leaf_index = 0", True),
        ("result", f"DELETE FROM {SALTS}", False),
        ("result", f"UPDATE {SALTS} SET salt = '' WHERE leaf_index = 0", False),
        ("result", f"UPDATE {EVENTS} SET payload = NULL", False),
    ],
)
def test_an_event_lets_go_what_it_names_and_no_more(
    conn: Connection, settled: Transition, named: str, statement: str, goes: bool
) -> None:
    with conn.transaction(force_rollback=True):
        forge(conn, index_of(conn, named), settled)
        if goes:
            run(conn, statement)
        else:
            with pytest.raises(errors.InsufficientPrivilege, match="is append-only"):
                run(conn, statement)


def test_no_event_lets_the_account_of_another_go(conn: Connection, settled: Transition) -> None:
    action = Transition(settled.step, "cancelled", "{}", 7, "pending")
    insert_each(conn, [action])
    seal(conn)
    erase(conn, action)
    seal(conn)
    (erased,) = erasures(conn)
    (leaf,) = rows(
        conn,
        f"SELECT leaf_index FROM {LEAVES} WHERE record_uuid = %s",
        erased["step_audit_event_uuid"],
    )
    with conn.transaction(force_rollback=True):
        forge(conn, leaf["leaf_index"], action)
        with pytest.raises(errors.InsufficientPrivilege, match="is append-only"):
            run(
                conn,
                f"UPDATE {EVENTS} SET payload = NULL WHERE step_audit_event_uuid = %s",
                erased["step_audit_event_uuid"],
            )


@pytest.mark.parametrize("setting", ["on", "off", "", "'", "0199f3a2-0000-7000-8000-000000000062"])
def test_an_engine_that_sets_the_setting_is_kept_all_the_same(
    conn: Connection, settled: Transition, setting: str
) -> None:
    conn.execute("SELECT set_config('step_audit.erasing', %s, FALSE)", (setting,))
    run(conn, f"UPDATE {HOST.transitions} SET metadata = NULL")
    assert len(changes(conn)) == 2
    assert MARKER in changes(conn)[1]["payload"]


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ("metadata = NULL", False),
        ("metadata = '{}'", False),
        ("metadata = '[]'", True),
        ("metadata = NULL, to_state = 'enqueued_as_error_for_orchestration'", True),
        ("sort_key = 70", True),
    ],
)
def test_an_erasing_transaction_keeps_all_but_the_erasure(
    conn: Connection, settled: Transition, change: str, kept: bool
) -> None:
    with conn.transaction(force_rollback=True):
        forge(conn, 0, settled)
        run(conn, "SET LOCAL step_audit.erasing = 'on'")
        run(conn, f"UPDATE {HOST.transitions} SET {change}")
        assert len(changes(conn)) == (2 if kept else 1)


def test_another_transition_is_kept_in_an_erasing_transaction(
    conn: Connection, settled: Transition
) -> None:
    other = record(conn)
    seal(conn)
    with conn.transaction(force_rollback=True):
        erase(conn, settled)
        assert len(changes(conn)) == 1
        # The setting is gone again, and even with it another one is kept.
        rewrite(conn, other, {"event": 1})
        run(conn, "SET LOCAL step_audit.erasing = 'on'")
        rewrite(conn, other, {})
        assert len(changes(conn)) == 3


def read_of_ours(conn: Connection) -> set[str]:
    """Our tables that this transaction has read, as SERIALIZABLE remembers."""
    found = rows(
        conn,
        "SELECT coalesce(i.indrelid, l.relation)::regclass::text AS name FROM pg_locks AS l "
        "LEFT JOIN pg_index AS i ON l.relation = i.indexrelid "
        "WHERE l.mode = 'SIReadLock' AND l.pid = pg_backend_pid()",
    )
    ours = {row["table_name"] for row in call(conn, SCHEMA, "list_step_audit_tables")}
    return {row["name"].rpartition(".")[2] for row in found} & ours


def test_an_update_of_the_engines_reads_nothing_of_ours(
    conn: Connection, settled: Transition
) -> None:
    run(conn, "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE")
    with conn.transaction(force_rollback=True):
        rewrite(conn, settled, {"event": 7})
        assert len(changes(conn)) == 2
    for metadata in ({"event": 7}, {}):
        with conn.transaction(force_rollback=True):
            rewrite(conn, settled, metadata)
            assert read_of_ours(conn) == set()
    # That it would show.
    with conn.transaction(force_rollback=True):
        run(conn, "SET LOCAL step_audit.erasing = 'on'")
        rewrite(conn, settled, {})
        assert read_of_ours(conn) == {"step_audit_events"}
