"""All transitions of a task, in pages: what the timeline of the page is made of."""

from __future__ import annotations

import json
import uuid
from typing import Any

from step_audit.database import Connection
from tests.functions.test_indexes import plans
from tests.support.host import (
    FAILED,
    HOST,
    OK,
    Step,
    Transition,
    behind_our_back,
    create_steps,
    delete_transitions,
    insert_each,
    insert_together,
)

CALL = "SELECT * FROM list_task_transitions"


def read(conn: Connection, step: Step, **arguments: Any) -> list[dict[str, Any]]:
    named = "".join(f", {name} => %({name})s" for name in arguments)
    return conn.execute(
        f"{CALL}(%(task)s{named})".encode(), {"task": step.task_uuid, **arguments}
    ).fetchall()


def read_pages(conn: Connection, step: Step, limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        last = found[-1] if found else {}
        page = read(
            conn,
            step,
            p_after_created_at=last.get("created_at"),
            p_after_sort_key=last.get("sort_key"),
            p_after_transition_uuid=last.get("workflow_step_transition_uuid"),
            p_limit=limit,
        )
        if not page:
            return found
        found += page


def test_pages_joined_are_all_transitions_in_the_order_of_time(conn: Connection) -> None:
    first, second, elsewhere = create_steps(conn, 3)
    states = ("in_progress", FAILED, "waiting_for_retry", "pending", OK)
    for number, state in enumerate(states):
        steps = (first, second, elsewhere)
        insert_together(conn, [Transition(step, state, "{}", number) for step in steps])
    found = read(conn, first)
    assert [row["to_state"] for row in found] == [state for state in states for _ in range(2)]
    assert [row["created_at"] for row in found] == sorted(row["created_at"] for row in found)
    assert {row["workflow_step_uuid"] for row in found} == {first.step_uuid, second.step_uuid}
    assert [row["success"] for row in found[::2]] == [None, False, None, None, True]
    for limit in (1, 3, 10):
        assert read_pages(conn, first, limit) == found


def test_the_payload_is_what_the_event_carries_and_is_cut_where_that_is_asked(
    conn: Connection,
) -> None:
    (step,) = create_steps(conn)
    events: list[dict[str, Any]] = [
        {"type": "Start"},
        {"type": "x", "data": {"success": True, "result": 1.5}},
    ]
    for number, event in enumerate(events):
        state = (OK, "in_progress")[number == 0]
        insert_each(
            conn, [Transition(step, state, json.dumps({"event": json.dumps(event)}), number)]
        )
    insert_each(conn, [Transition(step, "complete", None, 2)])
    start, result, nothing = read(conn, step)
    assert json.loads(start["payload"]) == events[0]
    assert json.loads(result["payload"]) == events[1]["data"]
    assert (nothing["payload"], nothing["payload_characters"]) == (None, None)
    for row, cut in zip((start, result), read(conn, step, p_payload_characters=5), strict=False):
        assert cut["payload"] == row["payload"][:5]
        assert cut["payload_characters"] == row["payload_characters"] == len(row["payload"])
    alone = read(conn, step, p_transition_uuid=result["workflow_step_transition_uuid"])
    assert alone == [result]


def test_what_the_engine_has_deleted_is_listed_by_its_audit_row(conn: Connection) -> None:
    (step,) = create_steps(conn)
    insert_each(conn, [Transition(step, "in_progress", "{}", 1)])
    insert_each(conn, [Transition(step, OK, '{"event": {"n": 1}}', 2)])
    (_, standing) = read(conn, step)
    delete_transitions(conn)
    (deleted,) = read(conn, step)
    assert deleted == standing | {
        "deleted": True,
        "changes": 1,
        "created_at": standing["recorded_at"],
        # Its start has gone with it.
        "elapsed_ms": None,
    }


def test_what_is_gone_without_a_trace_is_listed_without_states(conn: Connection) -> None:
    (step,) = create_steps(conn)
    insert_each(conn, [Transition(step, OK, "{}", 2)])
    with behind_our_back(conn):
        delete_transitions(conn)
    (gone,) = read(conn, step)
    assert (gone["to_state"], gone["payload"], gone["deleted"]) == (None, None, False)
    assert read_pages(conn, step, 1) == [gone]


def test_times_that_no_date_can_say_are_listed_and_passed_in_pages(conn: Connection) -> None:
    (step,) = create_steps(conn)
    for number, time in enumerate(("-infinity", "0001-01-01 BC", "2026-11-01", "infinity")):
        insert_each(conn, [Transition(step, "in_progress", "{}", number)])
        conn.execute(
            f"UPDATE {HOST.transitions} SET created_at = %s WHERE sort_key = %s".encode(),
            (time, number),
        )
    found = read(conn, step)
    assert [row["sort_key"] for row in found] == [0, 1, 2, 3]
    assert [row["created_at"].year for row in found] == [1, 1, 2026, 9999]
    assert read_pages(conn, step, 1) == found


def test_an_unknown_task_has_none(conn: Connection) -> None:
    assert conn.execute(f"{CALL}(%s)".encode(), (uuid.uuid4(),)).fetchall() == []


def test_the_audit_of_a_task_is_found_by_its_index(conn: Connection) -> None:
    steps = create_steps(conn, 200)
    for number in range(5):
        insert_together(conn, [Transition(step, OK, "{}", number) for step in steps])
    conn.execute("ANALYZE")
    found = plans(conn, "list_task_transitions(%(task)s)", {"task": steps[0].task_uuid})
    assert "idx_audit_task_uuid" in found
    assert "Seq Scan on tasker_workflow_step_result_audit" not in found
