"""The history functions give what a hand-written query over the same tables gives."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import errors

from step_audit.database import Connection, call
from tests.support.audit import play
from tests.support.host import (
    FAILED,
    HOST,
    OK,
    Step,
    Transition,
    create_steps,
    delete_transitions,
    insert_each,
    insert_together,
)
from tests.support.results import record_results
from tests.support.strategies import histories

BY_HAND = """
SELECT
    a.workflow_step_result_audit_uuid, a.workflow_step_uuid, a.workflow_step_transition_uuid,
    a.task_uuid, a.recorded_at, a.worker_uuid, a.correlation_id, a.success, a.backfilled,
    a.recorded_by, a.execution_time_ms, a.created_at, a.updated_at, n.name AS step_name,
    t.from_state, t.to_state, t.sort_key
FROM tasker_workflow_step_result_audit AS a
JOIN tasker_workflow_step_transitions AS t
    ON t.workflow_step_uuid = a.workflow_step_uuid
    AND t.workflow_step_transition_uuid = a.workflow_step_transition_uuid
JOIN tasker_workflow_steps AS s ON s.workflow_step_uuid = a.workflow_step_uuid
JOIN tasker_named_steps AS n ON n.named_step_uuid = s.named_step_uuid
"""
NEWEST_FIRST = (
    "ORDER BY a.recorded_at DESC, t.sort_key DESC, a.workflow_step_result_audit_uuid DESC"
)


def without_result(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    others = ("result", "elapsed_ms", "changes", "deleted")
    return [{k: v for k, v in row.items() if k not in others} for row in rows]


def history_of(conn: Connection, step: Step) -> list[dict[str, Any]]:
    return call(conn, HOST.audit_schema, "get_step_audit_history", p_step_uuid=step.step_uuid)


def test_histories_equal_a_hand_written_query(conn: Connection) -> None:
    steps = create_steps(conn, 3)

    @given(st.data())
    def law(data: st.DataObject) -> None:
        with conn.transaction(force_rollback=True):
            play(conn, data.draw(histories(steps)))
            for step in steps:
                by_hand = conn.execute(
                    f"{BY_HAND} WHERE a.workflow_step_uuid = %s {NEWEST_FIRST}", (step.step_uuid,)
                ).fetchall()
                history = history_of(conn, step)
                assert without_result(history) == by_hand

                by_hand = conn.execute(
                    f"{BY_HAND} WHERE a.task_uuid = %s {NEWEST_FIRST}", (step.task_uuid,)
                ).fetchall()
                history = call(
                    conn, HOST.audit_schema, "get_task_audit_history", p_task_uuid=step.task_uuid
                )
                assert without_result(history) == by_hand

    law()


@pytest.mark.parametrize("function", ["get_step_audit_history", "get_task_audit_history"])
def test_an_unknown_uuid_gives_no_rows_and_a_text_that_is_none_an_error(
    conn: Connection, function: str
) -> None:
    insert_each(conn, [Transition(create_steps(conn)[0], OK, "{}", 1)])
    assert conn.execute(f"SELECT {function}(%s)", (uuid.uuid4(),)).fetchall() == []
    assert conn.execute(f"SELECT {function}(NULL)").fetchall() == []
    with pytest.raises(errors.InvalidTextRepresentation, match='for type uuid: "no-uuid"'):
        conn.execute(f"SELECT {function}('no-uuid')")


def test_elapsed_is_the_time_since_the_step_last_went_in_progress(conn: Connection) -> None:
    (step,) = create_steps(conn)
    start = datetime(2026, 1, 1)
    for number, (state, milliseconds) in enumerate(
        [("in_progress", 0), (FAILED, 40), ("pending", 50), ("in_progress", 1000), (OK, 1072)]
    ):
        insert_each(conn, [Transition(step, state, "{}", number)])
        conn.execute(
            "UPDATE tasker_workflow_step_transitions SET created_at = %s WHERE sort_key = %s",
            (start + timedelta(milliseconds=milliseconds), number),
        )
    rows = history_of(conn, step)
    assert [(row["to_state"], row["elapsed_ms"]) for row in rows] == [(OK, 72), (FAILED, 40)]


@pytest.mark.parametrize("times", [("infinity", "-infinity"), ("now", "infinity")])
def test_a_time_without_end_fails_no_history(conn: Connection, times: tuple[str, str]) -> None:
    (step,) = create_steps(conn)
    insert_each(conn, [Transition(step, "in_progress", "{}", 0), Transition(step, OK, "{}", 1)])
    for number, time in enumerate(times):
        conn.execute(
            "UPDATE tasker_workflow_step_transitions SET created_at = %s WHERE sort_key = %s",
            (time, number),
        )
    row = conn.execute("SELECT elapsed_ms FROM list_step_audits()").fetchone()
    assert row == {"elapsed_ms": None}


def test_elapsed_is_null_where_the_step_never_went_in_progress(conn: Connection) -> None:
    (step,) = create_steps(conn)
    insert_each(conn, [Transition(step, OK, "{}", 1)])
    (row,) = history_of(conn, step)
    assert row["elapsed_ms"] is None


def test_the_result_is_the_tagged_data_else_the_event_and_keeps_each_digit(
    conn: Connection,
) -> None:
    data = '{"success": true, "result": [1.000000000000000000001, "\\u0000", "\\\\u0000"]}'
    cases = {
        json.dumps({"event": f'{{"type": "x", "data": {data}}}'}): data,
        json.dumps({"event": data}): data,
        '{"event": {"type": "x", "data": {"success": true}}}': '{"success": true}',
        '{"event": {"success": true, "data": 5}}': '{"data": 5, "success": true}',
        json.dumps({"event": "[1, 2]"}): "[1, 2]",
        json.dumps({"event": "{"}): None,
        '{"other": 1}': None,
        '{"event": null}': "null",
    }
    for metadata, expected in cases.items():
        row = conn.execute(
            "SELECT get_step_result(%s::jsonb)::text AS result", (metadata,)
        ).fetchone()
        assert row == {"result": expected}, metadata


def record_many(conn: Connection) -> list[Step]:
    """Sixty results of two workers and two correlation ids, four of them at the same instant."""
    steps = create_steps(conn, 4)
    for number in range(15):
        metadata = {
            "event": {"success": number % 2 == 0, "metadata": {"execution_time_ms": number * 10}},
            "worker_uuid": str(uuid.UUID(int=number % 2)),
            "correlation_id": str(uuid.UUID(int=number % 3)),
        }
        text = json.dumps(metadata)
        insert_together(conn, [Transition(step, OK, text, number) for step in steps])
    return steps


def test_each_filter_and_any_two_of_them_equal_a_filter_in_python(conn: Connection) -> None:
    steps = record_many(conn)
    everything = call(conn, HOST.audit_schema, "list_step_audits", p_limit=None)
    assert len(everything) == 60
    instants = sorted({row["recorded_at"] for row in everything})
    filters: dict[str, tuple[object, Any]] = {
        "p_step_uuid": (
            steps[1].step_uuid,
            lambda row: row["workflow_step_uuid"] == steps[1].step_uuid,
        ),
        "p_task_uuid": (steps[0].task_uuid, lambda row: row["task_uuid"] == steps[0].task_uuid),
        "p_worker_uuid": (uuid.UUID(int=1), lambda row: row["worker_uuid"] == uuid.UUID(int=1)),
        "p_correlation_id": (
            uuid.UUID(int=2),
            lambda row: row["correlation_id"] == uuid.UUID(int=2),
        ),
        "p_success": (False, lambda row: row["success"] is False),
        "p_recorded_from": (
            instants[3].replace(tzinfo=UTC),
            lambda row: row["recorded_at"] >= instants[3],
        ),
        "p_recorded_until": (
            instants[9].replace(tzinfo=UTC),
            lambda row: row["recorded_at"] < instants[9],
        ),
        "p_min_execution_time_ms": (70, lambda row: row["execution_time_ms"] >= 70),
        "p_max_execution_time_ms": (90, lambda row: row["execution_time_ms"] <= 90),
    }
    for first, (first_value, first_keeps) in filters.items():
        for second, (second_value, second_keeps) in filters.items():
            found = call(
                conn,
                HOST.audit_schema,
                "list_step_audits",
                **{first: first_value, second: second_value, "p_limit": None},
            )
            expected = [row for row in everything if first_keeps(row) and second_keeps(row)]
            assert found == expected, (first, second)
            assert 0 < len(expected) < 60, (first, second)


@pytest.mark.parametrize("limit", [1, 7, 60, 61])
def test_pages_joined_are_the_whole_list(conn: Connection, limit: int) -> None:
    record_many(conn)
    pages: list[dict[str, Any]] = []
    cursor: dict[str, Any] = {}
    while page := call(conn, HOST.audit_schema, "list_step_audits", p_limit=limit, **cursor):
        assert len(page) <= limit
        pages += page
        cursor = {
            "p_before_recorded_at": page[-1]["recorded_at"],
            "p_before_sort_key": page[-1]["sort_key"],
            "p_before_audit_uuid": page[-1]["workflow_step_result_audit_uuid"],
        }
    assert pages == call(conn, HOST.audit_schema, "list_step_audits", p_limit=None)
    assert len(pages) == 60


def test_a_page_has_a_hundred_rows_unless_told_otherwise_and_says_so(conn: Connection) -> None:
    (step,) = create_steps(conn)
    notices: list[str | None] = []
    conn.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    insert_together(conn, [Transition(step, OK, "{}", number) for number in range(99)])
    assert len(call(conn, HOST.audit_schema, "list_step_audits")) == 99
    assert len(call(conn, HOST.audit_schema, "list_step_audits", p_limit=0)) == 0
    assert notices == []
    insert_together(conn, [Transition(step, OK, "{}", number) for number in range(100, 102)])
    assert len(call(conn, HOST.audit_schema, "list_step_audits")) == 100
    assert notices == ["this page is full with 100 rows, so there may be more"]
    assert len(call(conn, HOST.audit_schema, "list_step_audits", p_limit=None)) == 101
    assert len(notices) == 1


def test_half_a_cursor_and_a_negative_limit_are_errors(conn: Connection) -> None:
    with pytest.raises(errors.InvalidParameterValue, match="go together"):
        call(conn, HOST.audit_schema, "list_step_audits", p_before_audit_uuid=uuid.uuid4())
    with pytest.raises(errors.InvalidParameterValue, match="go together"):
        call(conn, HOST.audit_schema, "list_step_audits", p_before_recorded_at=datetime(2026, 1, 1))
    with pytest.raises(errors.InvalidRowCountInLimitClause, match="LIMIT must not be negative"):
        call(conn, HOST.audit_schema, "list_step_audits", p_limit=-1)


def test_a_time_is_that_of_its_zone_or_else_of_the_sessions(conn: Connection) -> None:
    record_results(conn, 1)
    conn.execute("SET timezone = 'Asia/Tokyo'")
    for name in ("list_step_audits", "list_step_audit_changes", "list_operator_actions"):
        conn.execute(f"SELECT {name}(p_recorded_from => now(), p_recorded_until => now())".encode())
    counts = {
        "now() - interval '1 minute'": 1,
        "now() + interval '1 minute'": 0,
        "(SELECT max(recorded_at) AT TIME ZONE 'UTC' FROM step_audits)": 1,
        "(SELECT max(recorded_at) + interval '9 hours' FROM step_audits)": 1,
        "(SELECT max(recorded_at) + interval '10 hours' FROM step_audits)": 0,
        "(SELECT max(recorded_at) || 'Z' FROM step_audits)::timestamptz": 1,
        "'-infinity'": 1,
    }
    for since, count in counts.items():
        rows = conn.execute(f"SELECT list_step_audits(p_recorded_from => {since})".encode())
        assert len(rows.fetchall()) == count, since


def test_an_audit_row_is_shown_even_if_its_transition_is_gone_without_a_trace(
    conn: Connection,
) -> None:
    (step,) = create_steps(conn)
    insert_each(conn, [Transition(step, OK, "{}", 1)])
    conn.execute("SET session_replication_role = replica")
    delete_transitions(conn)
    conn.execute("RESET session_replication_role")
    (row,) = history_of(conn, step)
    assert (row["step_name"], row["to_state"], row["result"]) == (step.name, None, None)
    assert (row["changes"], row["deleted"]) == (0, False)
