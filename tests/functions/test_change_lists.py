"""Versions that stand no more: listed by filters and in pages, and marked in histories."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from psycopg import errors

from step_audit.database import Connection, call
from tests.support.command import succeed
from tests.support.connect import connect_again
from tests.support.host import (
    HOST,
    OK,
    Step,
    Transition,
    create_steps,
    delete_transitions,
    disable_own_audit,
    insert_each,
    insert_together,
)
from tests.support.results import record_results
from tests.support.roles import login_roles

LIST = "list_step_audit_changes"


def changes(conn: Connection, **filters: object) -> list[dict[str, Any]]:
    return call(conn, HOST.audit_schema, LIST, **({"p_limit": None} | filters))


def change_all(conn: Connection, number: int) -> None:
    conn.execute(
        f"UPDATE {HOST.transitions} SET metadata = %s WHERE to_state = %s".encode(),
        (json.dumps({"event": {"success": True, "result": number}}), OK),
    )


@pytest.fixture
def steps(conn: Connection) -> list[Step]:
    """Four steps of two tasks, each with five results: changed three times, then deleted."""
    disable_own_audit(conn)
    steps = create_steps(conn, 4)
    for number in range(5):
        insert_together(conn, [Transition(step, OK, "{}", number) for step in steps])
    change_all(conn, 0)
    # Everything else is the superuser's.
    with login_roles(conn, "clerk"):
        conn.execute(f"GRANT USAGE ON SCHEMA {HOST.schemas[-1]} TO clerk".encode())
        conn.execute(f"GRANT SELECT, UPDATE ON {HOST.transitions} TO clerk".encode())
        with connect_again(conn, user="clerk") as clerk:
            change_all(clerk, 1)
        conn.execute(b"DROP OWNED BY clerk")
    change_all(conn, 2)
    delete_transitions(conn)
    return steps


def test_each_filter_and_any_two_of_them_equal_a_filter_in_python(
    conn: Connection, steps: list[Step]
) -> None:
    everything = changes(conn)
    assert len(everything) == 80
    assert [row["step_audit_change_uuid"] for row in everything] == sorted(
        (row["step_audit_change_uuid"] for row in everything), reverse=True
    )
    instants = sorted({row["recorded_at"] for row in everything})
    one = everything[7]
    filters: dict[str, tuple[object, Callable[[dict[str, Any]], bool]]] = {
        "p_task_uuid": (one["task_uuid"], lambda row: row["task_uuid"] == one["task_uuid"]),
        "p_step_uuid": (
            one["workflow_step_uuid"],
            lambda row: row["workflow_step_uuid"] == one["workflow_step_uuid"],
        ),
        "p_transition_uuid": (
            one["workflow_step_transition_uuid"],
            lambda row: (
                row["workflow_step_transition_uuid"] == one["workflow_step_transition_uuid"]
            ),
        ),
        "p_operation": ("update", lambda row: row["operation"] == "update"),
        "p_recorded_by": ("clerk", lambda row: row["recorded_by"] == "clerk"),
        "p_recorded_from": (
            instants[1].replace(tzinfo=UTC),
            lambda row: row["recorded_at"] >= instants[1],
        ),
        "p_recorded_until": (
            instants[3].replace(tzinfo=UTC),
            lambda row: row["recorded_at"] < instants[3],
        ),
    }
    for first, (first_value, first_keeps) in filters.items():
        for second, (second_value, second_keeps) in filters.items():
            expected = [row for row in everything if first_keeps(row) and second_keeps(row)]
            found = changes(conn, **{first: first_value, second: second_value})
            assert found == expected, (first, second)
            assert 0 < len(expected) < 80, (first, second)


@pytest.mark.parametrize("limit", [1, 13, 80, 81])
def test_pages_joined_are_the_whole_list(conn: Connection, steps: list[Step], limit: int) -> None:
    pages: list[dict[str, Any]] = []
    cursor: dict[str, Any] = {}
    while page := changes(conn, **cursor, p_limit=limit):
        pages += page
        cursor = {"p_before_change_uuid": page[-1]["step_audit_change_uuid"]}
    assert pages == changes(conn)


def test_a_full_page_says_that_there_may_be_more(conn: Connection, steps: list[Step]) -> None:
    notices: list[str] = []
    conn.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    changes(conn, p_limit=80)
    assert notices == ["this page is full with 80 rows, so there may be more"]
    changes(conn, p_limit=81)
    assert len(notices) == 1


def test_a_change_tells_who_ended_what_and_when(conn: Connection) -> None:
    disable_own_audit(conn)
    result, other = record_results(conn, 2)
    with login_roles(conn, "clerk"):
        conn.execute(f"GRANT USAGE ON SCHEMA {HOST.schemas[-1]} TO clerk".encode())
        conn.execute(f"GRANT SELECT, DELETE ON {HOST.transitions} TO clerk".encode())
        with connect_again(conn, user="clerk") as clerk:
            clerk.execute(
                f"DELETE FROM {HOST.transitions} WHERE workflow_step_transition_uuid = %s".encode(),
                (result.transition_uuid,),
            )
        (change,) = changes(conn)
        conn.execute(b"DROP OWNED BY clerk")
    (record,) = call(
        conn, HOST.audit_schema, "get_step_audit_history", p_step_uuid=result.step.step_uuid
    )
    assert (change["operation"], change["recorded_by"]) == ("delete", "clerk")
    assert change["recorded_at"] > record["recorded_at"]
    assert change["recorded_xid"] > 0
    for name in (
        "workflow_step_result_audit_uuid",
        "task_uuid",
        "workflow_step_uuid",
        "workflow_step_transition_uuid",
        "step_name",
        "from_state",
        "to_state",
        "sort_key",
        "result",
    ):
        assert change[name] == record[name], name
    assert (
        json.loads(change["result"])
        == json.loads(json.loads(result.metadata or "")["event"])["data"]
    )
    assert changes(conn, p_step_uuid=other.step.step_uuid) == []


def test_a_change_of_no_record_is_found_by_its_transition(conn: Connection) -> None:
    """A transition that an UPDATE has made a result has no audit row."""
    disable_own_audit(conn)
    (step,) = create_steps(conn)
    made = Transition(step, "in_progress", "{}", 1)
    insert_each(conn, [made])
    conn.execute(f"UPDATE {HOST.transitions} SET to_state = %s".encode(), (OK,))
    delete_transitions(conn)
    (change,) = changes(conn, p_transition_uuid=made.transition_uuid)
    assert change["workflow_step_uuid"] == step.step_uuid
    assert change["workflow_step_result_audit_uuid"] is change["task_uuid"] is None
    assert changes(conn, p_step_uuid=step.step_uuid) == []


def test_what_no_list_can_do_is_refused(conn: Connection) -> None:
    with pytest.raises(
        errors.InvalidParameterValue,
        match="an operation is update, delete, truncate or insert, not DELETE",
    ):
        changes(conn, p_operation="DELETE")
    with pytest.raises(errors.InvalidRowCountInLimitClause, match="LIMIT must not be negative"):
        changes(conn, p_limit=-1)
    assert changes(conn, p_step_uuid=uuid.uuid4()) == []
    assert changes(conn, p_recorded_from=datetime(2100, 1, 1, tzinfo=UTC)) == []


def test_a_reader_may_call_it_and_a_stranger_not(conn: Connection, steps: list[Step]) -> None:
    with login_roles(conn, "reader", "stranger"):
        succeed("grant", "reader", "--as", "reader", to=conn)
        with connect_again(conn, user="reader") as reader:
            assert changes(reader) == changes(conn)
            history = reader.execute("SELECT deleted FROM step_audits").fetchall()
            assert history == [{"deleted": True}] * 20
        conn.execute(f"GRANT USAGE ON SCHEMA {', '.join(HOST.schemas)} TO stranger".encode())
        with (
            connect_again(conn, user="stranger") as stranger,
            pytest.raises(errors.InsufficientPrivilege),
        ):
            changes(stranger)
        conn.execute(b"DROP OWNED BY reader, stranger")


def test_the_order_of_a_history_and_its_pages_stay_when_results_are_deleted(
    conn: Connection,
) -> None:
    disable_own_audit(conn)
    (step,) = create_steps(conn)
    insert_together(conn, [Transition(step, OK, "{}", number) for number in (3, 1, 4, 2, 5)])
    before = call(conn, HOST.audit_schema, "list_step_audits")
    assert [row["sort_key"] for row in before] == [5, 4, 3, 2, 1]
    conn.execute(f"DELETE FROM {HOST.transitions} WHERE sort_key IN (2, 3)".encode())
    pages: list[dict[str, Any]] = []
    cursor: dict[str, Any] = {}
    while page := call(conn, HOST.audit_schema, "list_step_audits", **cursor, p_limit=1):
        pages += page
        cursor = {
            "p_before_recorded_at": page[0]["recorded_at"],
            "p_before_sort_key": page[0]["sort_key"],
            "p_before_audit_uuid": page[0]["workflow_step_result_audit_uuid"],
        }
    assert pages == call(conn, HOST.audit_schema, "list_step_audits")
    assert [row["sort_key"] for row in pages] == [5, 4, 3, 2, 1]
    assert [row["deleted"] for row in pages] == [False, False, True, True, False]


def test_elapsed_of_a_deleted_result_is_known_as_long_as_its_start_stands(
    conn: Connection,
) -> None:
    disable_own_audit(conn)
    result, *_ = record_results(conn, 1)
    for key, time in ((1, "2026-01-01 00:00:00"), (2, "2026-01-01 00:00:00.072")):
        conn.execute(
            f"UPDATE {HOST.transitions} SET created_at = %s WHERE sort_key = %s".encode(),
            (time, key),
        )

    def elapsed() -> int | None:
        (row,) = call(
            conn, HOST.audit_schema, "get_step_audit_history", p_step_uuid=result.step.step_uuid
        )
        found: int | None = row["elapsed_ms"]
        return found

    assert elapsed() == 72
    conn.execute(f"DELETE FROM {HOST.transitions} WHERE sort_key = 2".encode())
    assert elapsed() == 72
    delete_transitions(conn)
    assert elapsed() is None


def test_an_orphan_is_what_no_change_accounts_for(conn: Connection) -> None:
    disable_own_audit(conn)
    record_results(conn, 3)
    conn.execute(f"DELETE FROM {HOST.transitions} WHERE to_state = %s".encode(), (OK,))
    assert call(conn, HOST.audit_schema, "list_orphaned_audits") == []
    conn.execute("SET session_replication_role = replica")
    delete_transitions(conn)
    conn.execute("RESET session_replication_role")
    (orphan,) = call(conn, HOST.audit_schema, "list_orphaned_audits")
    (of_it,) = call(
        conn, HOST.audit_schema, "list_step_audits", p_audit_uuid=orphan["list_orphaned_audits"]
    )
    assert (of_it["success"], of_it["to_state"], of_it["deleted"]) == (False, None, False)


def test_status_counts_changes_and_what_is_deleted(conn: Connection) -> None:
    disable_own_audit(conn)
    record_results(conn, 3)

    def counted() -> tuple[int, int]:
        (status,) = call(conn, HOST.audit_schema, "get_step_audit_status")
        return status["changes"], status["deleted"]

    assert counted() == (0, 0)
    change_all(conn, 1)
    assert counted() == (2, 0)
    delete_transitions(conn)
    assert counted() == (5, 3)


def test_a_table_of_a_history_marks_what_was_changed_or_deleted(conn: Connection) -> None:
    disable_own_audit(conn)
    (step,) = create_steps(conn)
    insert_each(conn, [Transition(step, OK, "{}", number) for number in range(4)])

    def last_column() -> list[str]:
        printed = succeed("history", str(step.step_uuid), to=conn).splitlines()
        assert printed[0].count("recorded by") == 1
        return [line[printed[0].index("recorded by") :].split("  ", 1)[-1] for line in printed]

    assert last_column() == ["recorded by", *["postgres"] * 4]
    for number in range(2):
        conn.execute(
            f"UPDATE {HOST.transitions} SET metadata = %s WHERE sort_key > %s".encode(),
            (json.dumps({"event": number}), number),
        )
    conn.execute(f"DELETE FROM {HOST.transitions} WHERE sort_key IN (0, 3)".encode())
    marks = [each.strip() for each in last_column()]
    assert marks == [
        "since then",
        "changed 2 times, deleted",
        "changed 2 times",
        "changed",
        "deleted",
    ]
