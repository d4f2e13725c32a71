"""What is odd stops no other record from being sealed; what a seal cannot do right is refused."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import make_conninfo

from step_audit.database import Connection, call
from tests.faults.test_backfill_concurrency import wait_until
from tests.support.connect import connect, connect_again
from tests.support.host import (
    HOST,
    OK,
    Transition,
    behind_our_back,
    create_steps,
    disable_own_audit,
    drop_constraints,
    insert_each,
    real_transitions,
)
from tests.support.install import install_audit
from tests.trust.test_seal import assert_log_is_pythons
from tests.trust.world import assert_all_sealed, seal

# 75 KB, and over a gigabyte as text.
UNPRINTABLE = """
INSERT INTO tasker_workflow_step_transitions
    (workflow_step_uuid, to_state, sort_key, most_recent, metadata)
SELECT %s, %s, %s, FALSE, jsonb_build_object('event', jsonb_build_object(
    'success', TRUE, 'x', (SELECT jsonb_agg(1e131071) FROM generate_series(1, 8300))
))
"""


def leaves(conn: Connection) -> list[dict[str, Any]]:
    return call(conn, HOST.audit_schema, "list_step_audit_leaves", p_first=0, p_until=2**40)


@pytest.mark.gigabytes
def test_metadata_that_cannot_be_printed_is_sealed_by_size_and_hash(conn: Connection) -> None:
    (step,) = create_steps(conn)
    for number in range(0, 30, 10):
        insert_each(conn, [Transition(step, OK, f'{{"n": {number}}}', number)])
        conn.execute(UNPRINTABLE, (step.step_uuid, OK, number + 1))
        insert_each(conn, [Transition(step, OK, None, number + 2)])
    assert seal(conn, 4) == 9
    assert_all_sealed(conn)
    kinds = [row["kind"] for row in conn.execute("SELECT kind FROM step_audit_leaves").fetchall()]
    assert sorted(kinds) == ["result"] * 6 + ["unprintable result"] * 3
    found = leaves(conn)
    for row, is_sealed in zip(found, hashes_agree(conn), strict=True):
        assert is_sealed, row
    payloads = [json.loads(row["payload"]) for row in found if row["payload"]]
    sizes = {tuple(each) for each in payloads if isinstance(each, list)}
    assert len(sizes) == 1
    ((size, _),) = sizes
    assert 60_000 < size < 200_000
    # The next seal is an ordinary one.
    insert_each(conn, [Transition(step, OK, "{}", 99)])
    assert seal(conn) == 1


def hashes_agree(conn: Connection) -> list[bool]:
    return [
        row["agrees"]
        for row in conn.execute(
            "SELECT leaf_hash = sha256('\\x00'::bytea || convert_to(leaf, 'UTF8')) AS agrees "
            "FROM list_step_audit_leaves(0, 1000)"
        ).fetchall()
    ]


def test_a_log_does_not_depend_on_json_or_jsonb(host: Connection) -> None:
    """Nor on timestamp or timestamptz: an engine may change its columns between two seals."""
    conn = host
    (step,) = create_steps(conn)
    install_audit(conn)
    for number, real in enumerate(real_transitions()):
        metadata = json.dumps(real["metadata"], indent=number % 3)
        insert_each(conn, [Transition(step, OK, metadata, number)])
    seal(conn)
    assert_log_is_pythons(conn)
    for number, types in enumerate((("json", "timestamptz"), ("jsonb", "timestamp"))):
        call(conn, HOST.audit_schema, "detach_step_result_audit")
        for column, kind in zip(("metadata", "created_at"), types, strict=True):
            change = f"ALTER COLUMN {column} TYPE {kind} USING {column}::{kind}"
            conn.execute(f"ALTER TABLE {HOST.transitions} {change}".encode())
        call(conn, HOST.audit_schema, "attach_step_result_audit")
        insert_each(conn, [Transition(step, OK, '{"b":1, "a" : 2.50}', 1000 + number)])
        assert seal(conn) == 1
        assert all(hashes_agree(conn))
    assert_log_is_pythons(conn)


def test_json_that_jsonb_cannot_hold_is_sealed_as_it_is_written(host: Connection) -> None:
    conn = host
    (step,) = create_steps(conn)
    change = "ALTER COLUMN metadata TYPE json USING metadata::json"
    conn.execute(f"ALTER TABLE {HOST.transitions} {change}".encode())
    install_audit(conn)
    texts = [r'{"b": "\u0000", "a" : 1}', '{"n": 1e999999}', '{"b":1,  "a":2, "a":3}', None]
    for number, text in enumerate(texts):
        insert_each(conn, [Transition(step, OK, text, number)])
    assert seal(conn) == 4
    assert all(hashes_agree(conn))
    payloads = {row["payload"] for row in leaves(conn)}
    assert payloads == {texts[0], texts[1], '{"a": 3, "b": 1}', None}


def test_a_result_whose_transition_is_not_seen_waits_for_it(conn: Connection) -> None:
    disable_own_audit(conn)
    (step,) = create_steps(conn)
    drop_constraints(conn, "f")
    for number in range(3):
        insert_each(conn, [Transition(step, OK, "{}", number)])
    gone = f"{HOST.transitions} WHERE sort_key = 1"
    (kept,) = conn.execute(f"SELECT * FROM {gone}".encode()).fetchall()
    with behind_our_back(conn):
        conn.execute(f"DELETE FROM {gone}".encode())
    (done,) = call(conn, HOST.audit_schema, "seal_step_result_audit")
    assert (done["sealed"], done["complete"], done["waiting"]) == (2, True, 1)
    insert_each(conn, [Transition(step, OK, "{}", 9)])
    (done,) = call(conn, HOST.audit_schema, "seal_step_result_audit")
    assert (done["sealed"], done["complete"], done["waiting"]) == (1, True, 1)
    (newest,) = conn.execute(
        "SELECT cardinality(waiting) AS n FROM step_audit_seals ORDER BY tree_size DESC LIMIT 1"
    ).fetchall()
    assert newest["n"] == 1
    # It comes back, as from a partition that was attached again.
    with conn.transaction():
        conn.execute("SET LOCAL session_replication_role = replica")
        conn.execute(
            f"INSERT INTO {HOST.transitions} (workflow_step_transition_uuid, workflow_step_uuid, "
            "to_state, sort_key, most_recent) VALUES (%s, %s, %s, 1, FALSE)".encode(),
            (kept["workflow_step_transition_uuid"], kept["workflow_step_uuid"], OK),
        )
    (done,) = call(conn, HOST.audit_schema, "seal_step_result_audit")
    assert (done["sealed"], done["complete"], done["waiting"]) == (1, True, 0)
    assert_all_sealed(conn)


def test_a_seal_waits_for_a_table_that_is_rewritten(conn: Connection) -> None:
    """Whose rows an older snapshot does not show."""
    (step,) = create_steps(conn)
    insert_each(conn, [Transition(step, OK, "{}", number) for number in range(5)])
    with ThreadPoolExecutor(1) as pool, connect_again(conn) as other:
        with conn.transaction():
            change = "ADD COLUMN drawn float DEFAULT random()"
            conn.execute(f"ALTER TABLE {HOST.transitions} {change}".encode())
            sealing = pool.submit(seal, other)
            with connect_again(conn) as watcher:
                wait_until(lambda: _waits(watcher))
        assert sealing.result() == 5
    assert all(hashes_agree(conn))


def _waits(conn: Connection) -> bool:
    query = "SELECT FROM pg_locks WHERE NOT granted AND mode = 'AccessShareLock'"
    return bool(conn.execute(query).rowcount)


def test_a_seal_in_another_encoding_is_refused(empty: Connection) -> None:
    empty.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with connect(make_conninfo(empty.info.dsn, dbname="latin")) as conn:
        HOST.create(conn)
        install_audit(conn)
        refusal = _refused(conn)
    empty.execute("DROP DATABASE latin")
    assert refusal.message_primary == "a seal needs a database in UTF8, this one is in LATIN1"
    assert refusal.message_hint == (
        "Dump it and restore it into a database with ENCODING UTF8; the audit works without seals "
        "meanwhile."
    )


def _refused(conn: Connection) -> psycopg.errors.Diagnostic:
    with pytest.raises(errors.FeatureNotSupported) as refused:
        call(conn, HOST.audit_schema, "seal_step_result_audit")
    return refused.value.diag


def test_a_seal_of_what_a_subscription_writes_is_refused(conn: Connection) -> None:
    with conn.transaction(force_rollback=True):
        conn.execute("CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (connect = false)")
        conn.execute(
            "INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate) SELECT s.oid, "
            "'tasker_workflow_step_result_audit'::regclass, 'r' FROM pg_subscription AS s"
        )
        with pytest.raises(errors.ObjectNotInPrerequisiteState) as refused:
            call(conn, HOST.audit_schema, "seal_step_result_audit")
    assert refused.value.diag.message_primary == (
        "a subscription writes the audit here, with the transaction ids of another server"
    )
    assert refused.value.diag.message_hint == (
        "Seal on the publisher; here once the subscription is dropped."
    )


@pytest.mark.parametrize("size", [2**40, 2, 4])
def test_a_log_whose_seal_says_nonsense_does_not_go_on(conn: Connection, size: int) -> None:
    (step,) = create_steps(conn)
    insert_each(conn, [Transition(step, OK, "{}", number) for number in range(3)])
    seal(conn)
    with conn.transaction():
        conn.execute("ALTER TABLE step_audit_seals DISABLE TRIGGER trg_append_only")
        conn.execute("UPDATE step_audit_seals SET tree_size = %s", (size,))
    insert_each(conn, [Transition(step, OK, "{}", 9)])
    with pytest.raises(errors.DataCorrupted) as refused:
        seal(conn)
    assert refused.value.diag.message_primary == (
        f"the newest seal says that the log has {size} leaves, it has 3"
    )
    assert refused.value.diag.message_hint == "step-audit verify names what was changed."
