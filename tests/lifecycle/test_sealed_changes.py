"""Changes and events are sealed; what the engine changes is no finding, what passes us by is."""

from __future__ import annotations

from typing import Any

import pytest

from step_audit.database import Connection, call
from step_audit.trust.verify import verify
from tests.lifecycle.test_changes import engine, run  # noqa: F401 (a fixture)
from tests.support.host import HOST, drop_constraints
from tests.support.host import behind_our_back as behind_our_back_in
from tests.support.results import record_results

CHANGES = f"{HOST.audit_schema}.step_audit_changes"


def seal(conn: Connection) -> dict[str, Any]:
    (sealed,) = call(conn, HOST.audit_schema, "seal_step_result_audit")
    return sealed


def found(conn: Connection) -> list[str]:
    return sorted(finding.finding for finding in verify(conn, workers=1).findings)


def rewrite(conn: Connection, number: int, what: str = "metadata") -> None:
    """Let the engine change its first result."""
    value = f"""'{{"event": {number}}}'""" if what == "metadata" else "'elsewhere'"
    run(
        conn,
        f"UPDATE {HOST.transitions} SET {what} = {value} WHERE workflow_step_transition_uuid = ("
        f"SELECT workflow_step_transition_uuid FROM {HOST.transitions} "
        "WHERE sort_key = 2 ORDER BY created_at, workflow_step_transition_uuid LIMIT 1)",
    )


def behind_our_back(conn: Connection, table: str, statement: str) -> None:
    """Run a statement as an owner would who takes triggers off first, and puts them back."""
    run(conn, "SET session_replication_role = replica")
    run(conn, f"ALTER TABLE {table} DISABLE TRIGGER USER")
    run(conn, statement)
    run(conn, f"ALTER TABLE {table} ENABLE TRIGGER USER")
    if table.rpartition(".")[2].startswith("step_audit"):
        for guard in ("trg_append_only", "trg_append_only_truncate"):
            run(conn, f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {guard}")
    run(conn, "RESET session_replication_role")


@pytest.mark.parametrize("sealed_first", [True, False])
@pytest.mark.parametrize(
    "statement", ["DELETE FROM {}", "UPDATE {} SET metadata = '{{}}'", "UPDATE {} SET sort_key = 7"]
)
def test_what_the_engine_does_is_no_finding(
    conn: Connection, statement: str, sealed_first: bool
) -> None:
    record_results(conn, 3)
    if sealed_first:
        assert seal(conn)["tree_size"] == 3
    run(conn, f"DELETE FROM {HOST.transitions} WHERE to_state = 'in_progress'")
    run(conn, statement.format(HOST.transitions) + " WHERE sort_key = 2")
    assert found(conn) == []
    assert seal(conn)["tree_size"] == 6
    report = verify(conn, workers=1)
    assert report.findings == ()
    assert (report.counts.leaves, report.counts.changes, report.counts.results) == (6, 3, 3)


def test_each_version_of_many_is_kept_and_sealed(conn: Connection) -> None:
    record_results(conn, 1)
    for number in range(3):
        rewrite(conn, number)
        assert found(conn) == []
        seal(conn)
        assert found(conn) == []
    run(conn, f"DELETE FROM {HOST.transitions}")
    assert seal(conn)["tree_size"] == 5
    assert found(conn) == []


def test_a_rewrite_behind_our_back_after_an_update_is_found(conn: Connection) -> None:
    record_results(conn, 2)
    rewrite(conn, 1)
    seal(conn)
    behind_our_back(
        conn,
        HOST.transitions,
        f"UPDATE {HOST.transitions} SET metadata = '{{}}' WHERE sort_key = 2",
    )
    # The other result, and what the first change made.
    assert found(conn).count("altered record") == 2
    assert set(found(conn)) == {"altered record", "mismatch"}


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE {} SET metadata = '{{}}', metadata_json = NULL", ["altered record"] * 2),
        ("UPDATE {} SET recorded_by = 'somebody else'", ["altered record"]),
        ("UPDATE {} SET operation = 'update'", ["altered record"]),
        ("UPDATE {} SET recorded_at = recorded_at - interval '1 day'", ["altered record"]),
        ("DELETE FROM {}", ["altered record", "deleted record", "extra"]),
    ],
)
def test_a_change_that_is_altered_or_taken_away_is_found(
    conn: Connection, statement: str, expected: list[str]
) -> None:
    record_results(conn, 1)
    run(conn, f"DELETE FROM {HOST.transitions}")
    seal(conn)
    assert found(conn) == []
    behind_our_back(conn, CHANGES, statement.format(CHANGES))
    assert sorted(set(found(conn))) == sorted(set(expected))


def test_an_event_that_is_altered_is_found(conn: Connection) -> None:
    events = f"{HOST.audit_schema}.step_audit_events"
    run(conn, f"INSERT INTO {events} (kind) VALUES ('result came again')")
    seal(conn)
    assert found(conn) == []
    behind_our_back(conn, events, f"UPDATE {events} SET recorded_by = 'me'")
    assert found(conn) == ["altered record"]


def test_a_change_that_is_written_under_a_sealed_transaction_is_found(conn: Connection) -> None:
    record_results(conn, 1)
    seal(conn)
    run(
        conn,
        f"INSERT INTO {CHANGES} (operation, to_state, workflow_step_transition_uuid, recorded_xid) "
        "SELECT 'delete', 'enqueued_for_orchestration', gen_random_uuid(), 3",
    )
    assert found(conn) == ["inserted record", "missing"]


@pytest.mark.parametrize("sealed_first", [True, False])
def test_a_result_whose_task_is_deleted_whole_is_no_finding(
    conn: Connection, sealed_first: bool
) -> None:
    record_results(conn, 3)
    if sealed_first:
        seal(conn)
    for table in (HOST.transitions, HOST.steps, HOST.tasks):
        run(conn, f"DELETE FROM {table}")
    assert found(conn) == []
    seal(conn)
    assert found(conn) == []


def test_a_result_that_came_again_is_kept_and_what_follows_it_too(conn: Connection) -> None:
    record_results(conn, 1)
    seal(conn)
    run(conn, f"CREATE TEMP TABLE aside AS SELECT * FROM {HOST.transitions}")
    run(conn, f"DELETE FROM {HOST.transitions}")
    run(conn, """UPDATE aside SET metadata = '{"event": {"success": false}}'""")
    columns = ", ".join(
        row["attname"]
        for row in conn.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 "
            "AND NOT attisdropped",
            (HOST.transitions,),
        )
    )
    run(conn, f"INSERT INTO {HOST.transitions} ({columns}) SELECT {columns} FROM aside")
    assert found(conn) == []
    # The result, its deletion, what came again, and the event of that.
    assert seal(conn)["tree_size"] == 4
    assert found(conn) == []
    rewrite(conn, 1)
    seal(conn)
    assert found(conn) == []
    behind_our_back(
        conn,
        HOST.transitions,
        f"UPDATE {HOST.transitions} SET metadata = '{{}}' WHERE sort_key = 2",
    )
    assert found(conn) == ["altered record"]


@pytest.mark.parametrize("what", ["UPDATE", "DELETE", "both"])
def test_what_was_changed_before_it_was_audited_is_audited_as_it_was(
    conn: Connection, what: str
) -> None:
    run(conn, f"ALTER TABLE {HOST.transitions} DISABLE TRIGGER {HOST.trigger}")
    record_results(conn, 3)
    run(conn, f"ALTER TABLE {HOST.transitions} ENABLE TRIGGER {HOST.trigger}")
    before = audited_as_if_at_once(conn)
    if what != "DELETE":
        run(conn, f"UPDATE {HOST.transitions} SET metadata = '{{}}' WHERE sort_key = 2")
    if what != "UPDATE":
        for table in (HOST.transitions, HOST.steps, HOST.tasks):
            run(conn, f"DELETE FROM {table}")
    assert found(conn) == ["missing"] * 3
    run(conn, f"CALL {HOST.audit_schema}.backfill_step_result_audit()")
    assert audited(conn) == before
    assert found(conn) == []
    seal(conn)
    assert found(conn) == []


def audited(conn: Connection) -> list[dict[str, Any]]:
    return conn.execute(
        "SELECT workflow_step_transition_uuid, task_uuid, worker_uuid, correlation_id, success, "
        f"execution_time_ms FROM {HOST.audit_schema}.tasker_workflow_step_result_audit "
        "ORDER BY 1".encode()
    ).fetchall()


def audited_as_if_at_once(conn: Connection) -> list[dict[str, Any]]:
    """What a backfill would write now."""
    with conn.transaction(force_rollback=True):
        call(
            conn,
            HOST.audit_schema,
            "backfill_step_result_audit_batch",
            p_after=None,
            p_batch_size=100,
        )
        return audited(conn)


def test_what_rises_behind_our_back_after_it_was_deleted_is_found(conn: Connection) -> None:
    record_results(conn, 2)
    seal(conn)
    run(conn, f"CREATE TEMP TABLE aside AS SELECT * FROM {HOST.transitions} WHERE sort_key = 2")
    run(conn, "UPDATE aside SET metadata = '{}'")
    run(conn, f"DELETE FROM {HOST.transitions}")
    seal(conn)
    assert found(conn) == []
    with behind_our_back_in(conn):
        run(conn, f"INSERT INTO {HOST.transitions} SELECT * FROM aside")
    assert found(conn) == ["altered record"] * 2


def test_no_version_but_the_next_is_what_a_change_left(conn: Connection) -> None:
    record_results(conn, 1)
    for number in (1, 2, 1):
        rewrite(conn, number)
    seal(conn)
    assert found(conn) == []
    behind_our_back(
        conn,
        HOST.transitions,
        f"""UPDATE {HOST.transitions} SET metadata = '{{"event": 2}}' WHERE sort_key = 2""",
    )
    assert found(conn) == ["altered record"]


def move_aside_and_back(conn: Connection, change: str = "SET sort_key = sort_key") -> None:
    """Delete the results and insert them again, as a move to another partition does."""
    run(conn, "DROP TABLE IF EXISTS aside")
    run(conn, f"CREATE TEMP TABLE aside AS SELECT * FROM {HOST.transitions} WHERE sort_key = 2")
    run(conn, f"UPDATE aside {change}")
    run(conn, f"DELETE FROM {HOST.transitions} WHERE sort_key = 2")
    run(conn, f"INSERT INTO {HOST.transitions} SELECT * FROM aside")


def unaudited(conn: Connection) -> None:
    """Two results from before the audit."""
    run(conn, f"ALTER TABLE {HOST.transitions} DISABLE TRIGGER {HOST.trigger}")
    record_results(conn, 2)
    run(conn, f"ALTER TABLE {HOST.transitions} ENABLE TRIGGER {HOST.trigger}")


@pytest.mark.parametrize("change", ["SET sort_key = 2", """SET metadata = '{"event": {}}'"""])
def test_what_comes_again_before_it_was_audited_is_no_finding(
    conn: Connection, change: str
) -> None:
    unaudited(conn)
    move_aside_and_back(conn, change)
    assert found(conn) == []
    seal(conn)
    assert found(conn) == []


def test_a_result_that_becomes_none_and_is_changed_then_is_no_finding(conn: Connection) -> None:
    record_results(conn, 2)
    run(conn, f"UPDATE {HOST.transitions} SET to_state = 'error' WHERE sort_key = 2")
    seal(conn)
    assert found(conn) == []
    run(conn, f"UPDATE {HOST.transitions} SET metadata = '{{}}' WHERE sort_key = 2")
    assert found(conn) == []
    run(conn, f"DELETE FROM {HOST.transitions}")
    seal(conn)
    assert found(conn) == []


def test_a_table_that_is_emptied_after_its_rows_were_moved_is_no_finding(conn: Connection) -> None:
    """As an engine repartitions: what was moved stands, though the last change is a truncate."""
    record_results(conn, 2)
    seal(conn)
    move_aside_and_back(conn)
    run(
        conn,
        f"INSERT INTO {CHANGES} (operation, workflow_step_transition_uuid, workflow_step_uuid, "
        "from_state, to_state, sort_key, transition_created_at, metadata, metadata_json) "
        "SELECT 'truncate', workflow_step_transition_uuid, workflow_step_uuid, from_state, "
        f"to_state, sort_key, transition_created_at, metadata, metadata_json FROM {CHANGES} "
        "WHERE operation = 'insert'",
    )
    seal(conn)
    assert found(conn) == []


def test_a_step_that_is_deleted_while_its_result_stays_is_no_finding(conn: Connection) -> None:
    record_results(conn, 2)
    seal(conn)
    drop_constraints(conn, "f")
    run(conn, f"DELETE FROM {HOST.steps}")
    # The audit's own keys went with the engine's.
    assert set(found(conn)) <= {"missing object"}
