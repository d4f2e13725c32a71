"""An engine's own clean-up, in each way to write it: all results are kept, with their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from step_audit.database import Connection, call
from step_audit.trust.verify import verify
from tests.lifecycle.test_changes import (
    DELETED_STEPS,
    assert_kept,
    changes,
    drop_declared_keys,
    engine,  # noqa: F401 (a fixture)
    run,
    transitions,
)
from tests.support.host import HOST, create_steps
from tests.support.results import record_results

TABLES = (HOST.transitions, HOST.steps, HOST.tasks)


def let_deletes_cascade(conn: Connection) -> None:
    """Whoever deletes a task deletes its steps, and their transitions."""
    found = conn.execute(
        "SELECT conrelid::regclass::text AS name, conname, pg_get_constraintdef(oid) AS key "
        "FROM pg_constraint WHERE contype = 'f' AND conrelid = ANY(%s::regclass[]) "
        "AND confrelid = ANY(%s::regclass[])",
        ([HOST.transitions, HOST.steps], [HOST.steps, HOST.tasks]),
    ).fetchall()
    assert len(found) == 2
    for each in found:
        run(conn, f"ALTER TABLE {each['name']} DROP CONSTRAINT {each['conname']}")
        run(conn, f"ALTER TABLE {each['name']} ADD {each['key']} ON DELETE CASCADE")


def delete_each(conn: Connection, *tables: str) -> None:
    for table in tables:
        rows = conn.execute(f"SELECT ctid FROM {table}".encode()).fetchall()
        assert len(rows) > 1
        for row in rows:
            run(conn, f"DELETE FROM {table} WHERE ctid = %s", row["ctid"])


def delete_all(conn: Connection, *tables: str) -> None:
    for table in tables:
        run(conn, f"DELETE FROM {table}")


def delete_in_one_statement(conn: Connection) -> None:
    run(
        conn,
        f"WITH t AS (DELETE FROM {HOST.transitions}), s AS (DELETE FROM {HOST.steps}) "
        f"DELETE FROM {HOST.tasks}",
    )


def truncate(conn: Connection) -> None:
    drop_declared_keys(conn)
    run(conn, f"TRUNCATE {HOST.tasks} CASCADE")


WAYS: dict[str, Callable[[Connection], None]] = {
    "row by row": lambda conn: delete_each(conn, *TABLES),
    "bulk": lambda conn: delete_all(conn, *TABLES),
    "one statement": delete_in_one_statement,
    "truncate": truncate,
}
CASCADING = WAYS | {
    "task by task": lambda conn: delete_each(conn, HOST.tasks),
    "all tasks": lambda conn: delete_all(conn, HOST.tasks),
}


def found(conn: Connection) -> list[str]:
    """What verify finds, but for the keys that no TRUNCATE works with."""
    findings = verify(conn, HOST.audit_schema, workers=1).findings
    return [str(each) for each in findings if not str(each.field).startswith("constraint ")]


@pytest.mark.parametrize(
    ("cascades", "way"),
    [(False, way) for way in WAYS] + [(True, way) for way in CASCADING],
    ids=lambda value: {True: "cascade", False: "no action"}.get(value, value),
)
def test_all_that_is_cleaned_up_is_kept(conn: Connection, cascades: bool, way: str) -> None:
    """Half of it is sealed."""
    if cascades:
        let_deletes_cascade(conn)
    results = {result.transition_uuid: result.step for result in record_results(conn, 3)}
    assert seal(conn) == 3
    results |= {result.transition_uuid: result.step for result in record_results(conn, 3)}
    without_result = create_steps(conn, 2)
    stood = transitions(conn)
    CASCADING[way](conn)
    assert [conn.execute(f"SELECT FROM {table}".encode()).rowcount for table in TABLES] == [0] * 3

    kept = changes(conn)
    assert Counter(each["workflow_step_transition_uuid"] for each in kept) == Counter(list(results))
    for each in kept:
        operation = "truncate" if way == "truncate" else "delete"
        assert_kept(each, stood[each["workflow_step_transition_uuid"]], operation)
    assert Counter(
        (row["workflow_step_uuid"], row["task_uuid"], row["step_name"])
        for row in conn.execute(f"SELECT * FROM {DELETED_STEPS}".encode())
    ) == Counter(
        (step.step_uuid, step.task_uuid, step.name) for step in [*results.values(), *without_result]
    )
    assert found(conn) == []
    assert seal(conn) == 3 + 6
    assert found(conn) == []

    shown = call(conn, HOST.audit_schema, "list_step_audits", p_limit=None)
    assert {
        row["workflow_step_transition_uuid"]: (row["step_name"], row["deleted"]) for row in shown
    } == {key: (step.name, True) for key, step in results.items()}
    assert all(row["result"] is not None for row in shown)


@pytest.mark.parametrize("cascades", [True, False], ids=["cascade", "no action"])
def test_a_clean_up_that_is_rolled_back_keeps_nothing(conn: Connection, cascades: bool) -> None:
    if cascades:
        let_deletes_cascade(conn)
    record_results(conn, 3)
    with conn.transaction(force_rollback=True):
        (CASCADING["all tasks"] if cascades else delete_in_one_statement)(conn)
        assert len(changes(conn)) == 3
    assert changes(conn) == []
    assert conn.execute(f"SELECT FROM {DELETED_STEPS}".encode()).rowcount == 0
    assert seal(conn) == 3
    assert found(conn) == []


def seal(conn: Connection) -> int:
    (done,) = call(conn, HOST.audit_schema, "seal_step_result_audit")
    sealed: int = done["sealed"]
    return sealed
