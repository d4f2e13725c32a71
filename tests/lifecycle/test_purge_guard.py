"""The guard of each table lets go only what a purge of the same transaction names."""

from __future__ import annotations

import pytest
from psycopg import errors

from step_audit.database import Connection, call
from tests.lifecycle.test_changes import engine, run  # noqa: F401 (a fixture)
from tests.lifecycle.test_purge import (
    ANOMALIES,
    AUDIT,
    CHANGES,
    DELETED,
    EVENTS,
    LEAVES,
    SALTS,
    SEALS,
    SUBTREES,
    clear,
    count,
    everything,
    hold,
    seal,
)
from tests.support.host import HOST, OK, Transition, create_steps, insert_each
from tests.support.results import record_results

# The guard.

# Each table, and how a row of it is found by a transition's key where it has one.
GOES = (ANOMALIES, SALTS, CHANGES, EVENTS, AUDIT)


STAYS = (LEAVES, SUBTREES, SEALS)


def forge(conn: Connection, leaves: str = "{[0,1000000)}") -> None:
    """What an owner may write himself."""
    run(
        conn,
        f"INSERT INTO {EVENTS} (kind, payload) "
        "VALUES ('purged', jsonb_build_object('leaves', %s::text))",
        leaves,
    )


def one_of_each(conn: Connection) -> Transition:
    """A row in each table."""
    (step,) = create_steps(conn)
    odd = Transition(step, OK, '{"event": "odd"}', 1, "in_progress")
    insert_each(conn, [odd])
    run(conn, f"UPDATE {HOST.transitions} SET sort_key = 2")
    insert_each(conn, [Transition(step, "cancelled", "{}", 3, "pending")])
    clear(conn)
    record_results(conn, 260)
    clear(conn)
    seal(conn)
    for table in (*GOES, *STAYS, DELETED):
        assert count(conn, table) > 0
    return odd


def assert_refused(conn: Connection, statement: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege, match="is append-only"), conn.transaction():
        run(conn, statement)


def test_an_event_of_another_transaction_opens_nothing(conn: Connection) -> None:
    one_of_each(conn)
    forge(conn)
    before = everything(conn)
    for table in (*GOES, *STAYS, DELETED):
        assert_refused(conn, f"DELETE FROM {table}")
    assert everything(conn) == before


def test_an_event_opens_only_what_it_names_and_only_to_go(conn: Connection) -> None:
    odd = one_of_each(conn)
    release = call(
        conn,
        HOST.audit_schema,
        "release_step_result_audit",
        p_hold=hold(conn, odd.step.task_uuid),
        p_reason="settled",
    )
    assert release
    forge(conn, "{}")
    seal(conn)
    with conn.transaction(force_rollback=True):
        forge(conn, "{[1000000,1000001)}")
        for table in (*GOES, *STAYS):
            assert_refused(conn, f"DELETE FROM {table}")
    with conn.transaction(force_rollback=True):
        forge(conn)
        for table in STAYS:
            assert_refused(conn, f"DELETE FROM {table}")
        for kind in ("hold", "release", "purged"):
            assert_refused(conn, f"DELETE FROM {EVENTS} WHERE kind = '{kind}'")
        for table, column in (
            (AUDIT, "success"),
            (CHANGES, "operation"),
            (EVENTS, "kind"),
            (SALTS, "salt"),
            (ANOMALIES, "reason"),
            (DELETED, "step_name"),
        ):
            assert_refused(conn, f"UPDATE {table} SET {column} = {column}")
        for table in (*GOES, *STAYS, DELETED):
            assert_refused(conn, f"TRUNCATE {table} CASCADE")
        # Some of its step's audit rows are there.
        assert_refused(conn, f"DELETE FROM {DELETED}")
        for table in GOES:
            rows = f"DELETE FROM {table}"
            run(conn, rows + (" WHERE kind = 'operator action'" if table == EVENTS else ""))
        run(conn, f"DELETE FROM {DELETED}")


def test_an_event_does_not_open_what_is_held(conn: Connection) -> None:
    odd = one_of_each(conn)
    hold(conn, odd.step.task_uuid)
    key = f"'{odd.transition_uuid}'"
    audit = (
        "SELECT workflow_step_result_audit_uuid "
        f"FROM {AUDIT} WHERE workflow_step_transition_uuid = {key}"
    )
    leaves = (
        f"SELECT leaf_index FROM {LEAVES} WHERE record_uuid IN ({audit} UNION ALL "
        f"SELECT step_audit_change_uuid FROM {CHANGES} WHERE workflow_step_transition_uuid = {key} "
        f"UNION ALL SELECT step_audit_event_uuid FROM {EVENTS} "
        f"WHERE task_uuid = '{odd.step.task_uuid}')"
    )
    with conn.transaction(force_rollback=True):
        forge(conn)
        for table, which in (
            (ANOMALIES, f"workflow_step_result_audit_uuid IN ({audit})"),
            (CHANGES, f"workflow_step_transition_uuid = {key}"),
            (EVENTS, f"task_uuid = '{odd.step.task_uuid}' AND kind = 'operator action'"),
            (AUDIT, f"workflow_step_transition_uuid = {key}"),
            (DELETED, f"task_uuid = '{odd.step.task_uuid}'"),
        ):
            assert count(conn, table, which) > 0
            assert_refused(conn, f"DELETE FROM {table} WHERE {which}")
        numbers = [row["leaf_index"] for row in conn.execute(leaves.encode())]
        assert len(numbers) == 4
        for number in numbers:
            assert_refused(conn, f"DELETE FROM {SALTS} WHERE leaf_index = {number}")
