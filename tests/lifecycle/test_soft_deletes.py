"""A host whose trigger makes a mark of a delete: the row stands, and is kept as changed at most."""

from __future__ import annotations

import pytest

from step_audit.database import Connection
from tests.lifecycle.test_changes import (
    DELETED_STEPS,
    assert_kept,
    changes,
    engine,  # noqa: F401 (a fixture)
    run,
    transitions,
)
from tests.lifecycle.test_cleanup import seal
from tests.lifecycle.test_sealed_changes import found
from tests.support.host import HOST
from tests.support.results import record_results

KEYS = {
    HOST.transitions: "workflow_step_transition_uuid",
    HOST.steps: "workflow_step_uuid",
    HOST.tasks: "task_uuid",
}


def mark_instead_of_delete(conn: Connection, table: str, mark: str = "") -> None:
    """Let the host update a row that somebody deletes, and keep it."""
    name = table.rpartition(".")[2]
    run(conn, f"ALTER TABLE {table} ADD COLUMN deleted_at timestamp")
    run(
        conn,
        f"CREATE FUNCTION {HOST.schema}.mark_{name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"UPDATE {table} SET deleted_at = now(){mark} WHERE {KEYS[table]} = OLD.{KEYS[table]}; "
        "RETURN NULL; END $$",
    )
    run(
        conn,
        f"CREATE TRIGGER mark_deleted BEFORE DELETE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {HOST.schema}.mark_{name}()",
    )


def marked(conn: Connection, table: str) -> int:
    return conn.execute(f"SELECT FROM {table} WHERE deleted_at IS NOT NULL".encode()).rowcount


@pytest.mark.parametrize("mark", ["", ", most_recent = FALSE, updated_at = now()"])
def test_a_mark_that_is_no_evidence_keeps_nothing(conn: Connection, mark: str) -> None:
    for table in KEYS:
        mark_instead_of_delete(conn, table, mark if table == HOST.transitions else "")
    record_results(conn, 3)
    for table in KEYS:
        run(conn, f"DELETE FROM {table}")
    assert [marked(conn, table) for table in KEYS] == [6, 3, 2]
    assert changes(conn) == []
    assert conn.execute(f"SELECT FROM {DELETED_STEPS}".encode()).rowcount == 0
    assert found(conn) == []
    assert seal(conn) == 3
    assert found(conn) == []


def test_a_mark_in_the_evidence_is_kept_as_an_update(conn: Connection) -> None:
    mark_instead_of_delete(conn, HOST.transitions, """, metadata = '{"event": null}'""")
    record_results(conn, 3)
    stood = transitions(conn)
    run(conn, f"DELETE FROM {HOST.transitions}")
    assert marked(conn, HOST.transitions) == 6
    kept = changes(conn)
    assert len(kept) == 3
    for each in kept:
        assert_kept(each, stood[each["workflow_step_transition_uuid"]], "update")
    assert found(conn) == []
    assert seal(conn) == 6
    assert found(conn) == []


def test_what_is_deleted_for_good_later_is_kept_as_deleted(conn: Connection) -> None:
    mark_instead_of_delete(conn, HOST.transitions)
    record_results(conn, 2)
    run(conn, f"DELETE FROM {HOST.transitions}")
    assert changes(conn) == []
    run(conn, f"ALTER TABLE {HOST.transitions} DISABLE TRIGGER mark_deleted")
    run(conn, f"DELETE FROM {HOST.transitions} WHERE deleted_at IS NOT NULL")
    assert [each["operation"] for each in changes(conn)] == ["delete"] * 2
    seal(conn)
    assert found(conn) == []
