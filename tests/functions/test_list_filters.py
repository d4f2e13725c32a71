"""Lists by what became of a result: changed, deleted, its step done by hand; and by step name."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from step_audit.database import Connection, call
from tests.functions.test_indexes import plans
from tests.support.command import succeed
from tests.support.host import (
    HOST,
    OK,
    Step,
    Transition,
    create_steps,
    disable_own_audit,
    insert_each,
    insert_together,
)

Keeps = Callable[[dict[str, Any]], bool]

COMPLETED, RESET = json.dumps({"event": '{"type":"CompleteManually"}'}), "{}"
ROUNDS = 4


def listed(conn: Connection, **filters: object) -> list[dict[str, Any]]:
    return call(conn, HOST.audit_schema, "list_step_audits", **({"p_limit": None} | filters))


def change(conn: Connection, statement: str, steps: list[Step]) -> None:
    conn.execute(
        f"{statement} WHERE workflow_step_uuid = ANY(%s) AND sort_key < 100".encode(),
        ([step.step_uuid for step in steps],),
    )


@pytest.fixture
def steps(conn: Connection) -> list[Step]:
    """Twelve steps: every second changed, every third deleted, every fifth acted upon by hand."""
    disable_own_audit(conn)
    steps = create_steps(conn, 12, per_task=3)
    for number in range(ROUNDS):
        metadata = json.dumps(
            {"event": {"success": number > 0}, "worker_uuid": str(uuid.UUID(int=number))}
        )
        insert_together(conn, [Transition(step, OK, metadata, number) for step in steps])
    update = f"UPDATE {HOST.transitions} SET metadata = '{{\"event\": 1}}'"
    change(conn, update, steps[::2])
    change(conn, f"DELETE FROM {HOST.transitions}", steps[::3])
    # What is gone came again: a version stands no more, and another one does.
    again = [Transition(steps[3], OK, "{}", 9), Transition(steps[3], OK, "{}", 10)]
    insert_each(conn, again)
    change(conn, f"DELETE FROM {HOST.transitions}", [steps[3]])
    insert_each(conn, again[:1])
    insert_each(
        conn,
        [
            Transition(steps[0], "complete", COMPLETED, 100, OK),
            Transition(steps[5], "resolved_manually", RESET, 100, OK),
            Transition(steps[10], "cancelled", RESET, 100, "pending"),
        ],
    )
    # Steps that are gone, with their names.
    for step in (steps[0], steps[9]):
        for table in (HOST.transitions, HOST.steps):
            conn.execute(
                f"DELETE FROM {table} WHERE workflow_step_uuid = %s".encode(), (step.step_uuid,)
            )
    return steps


def filters_of(steps: list[Step]) -> dict[tuple[str, object], Keeps]:
    by_hand = {steps[0].step_uuid, steps[5].step_uuid}
    filters: dict[tuple[str, object], Keeps] = {
        ("p_step_name", "step_0"): lambda row: row["step_name"] == "step_0",
        ("p_success", False): lambda row: row["success"] is False,
        ("p_worker_uuid", uuid.UUID(int=2)): lambda row: row["worker_uuid"] == uuid.UUID(int=2),
        ("p_step_uuid", steps[0].step_uuid): (
            lambda row: row["workflow_step_uuid"] == steps[0].step_uuid
        ),
    }
    became: dict[str, Keeps] = {
        "p_changed": lambda row: row["changes"] > row["deleted"],
        "p_deleted": lambda row: row["deleted"],
        "p_manual": lambda row: row["workflow_step_uuid"] in by_hand,
    }
    for name, keeps in became.items():
        filters[name, True] = keeps
        filters[name, False] = lambda row, keeps=keeps: not keeps(row)  # type: ignore[misc]
    return filters


@pytest.mark.parametrize("limit", [None, 1, 5, 60])
def test_each_filter_and_any_two_of_them_equal_a_filter_in_python(
    conn: Connection, steps: list[Step], limit: int | None
) -> None:
    everything = listed(conn)
    assert len(everything) == 12 * ROUNDS + 2
    filters = filters_of(steps)
    for (first, first_keeps), (second, second_keeps) in itertools.product(
        filters.items(), repeat=2
    ):
        expected = [row for row in everything if first_keeps(row) and second_keeps(row)]
        if first == second:
            assert 0 < len(expected) < len(everything), first
        if first[0] == second[0] and first != second:
            continue
        found = listed(conn, **dict([first, second]), p_limit=limit)
        assert found == expected[:limit], (first, second)


def test_pages_joined_are_the_whole_list(conn: Connection, steps: list[Step]) -> None:
    for name, value in filters_of(steps):
        pages: list[dict[str, Any]] = []
        cursor: dict[str, Any] = {}
        while page := listed(conn, **{name: value}, **cursor, p_limit=3):
            pages += page
            cursor = {
                "p_before_recorded_at": page[-1]["recorded_at"],
                "p_before_sort_key": page[-1]["sort_key"],
                "p_before_audit_uuid": page[-1]["workflow_step_result_audit_uuid"],
            }
        assert pages == listed(conn, **{name: value}), name


def test_what_was_erased_of_an_action_may_have_been_a_completion(
    conn: Connection, steps: list[Step]
) -> None:
    cancelled = {"p_step_uuid": steps[10].step_uuid, "p_manual": True}
    assert listed(conn, **cancelled) == []
    conn.execute("SELECT seal_step_result_audit()")
    task = str(steps[10].task_uuid)
    succeed("erase", "--task", task, "--reason", "asked for", "--yes", to=conn)
    assert len(listed(conn, **cancelled)) == ROUNDS


@pytest.fixture
def rare(conn: Connection) -> Connection:
    """Three thousand results; of ten that are older, one is changed, one deleted, one by hand."""
    disable_own_audit(conn)
    steps = create_steps(conn, 10, per_task=10)
    insert_each(conn, [Transition(step, OK, "{}", 0) for step in steps])
    (common,) = create_steps(conn)
    insert_together(conn, [Transition(common, OK, "{}", number) for number in range(3000)])
    change(conn, f"UPDATE {HOST.transitions} SET metadata = '{{\"event\": 1}}'", steps[:1])
    change(conn, f"DELETE FROM {HOST.transitions}", steps[1:2])
    insert_each(conn, [Transition(steps[2], "resolved_manually", "{}", 100, OK)])
    conn.execute("VACUUM ANALYZE")
    return conn


@pytest.mark.parametrize(
    ("filtered", "index", "count"),
    [
        ("p_changed => TRUE", "uq_audit_step_transition", 1),
        ("p_deleted => TRUE", "uq_audit_step_transition", 1),
        ("p_manual => TRUE", "idx_audit_step_uuid", 1),
        ("p_step_name => 'step_7'", "idx_audit_step_uuid", 1),
    ],
)
def test_what_is_rare_is_found_by_itself_and_not_among_all(
    rare: Connection, filtered: str, index: str, count: int
) -> None:
    plan = plans(rare, f"list_step_audits({filtered}, p_limit => 10)", {})
    page = plan[plan.rindex("CTE page") :]
    assert index in page
    assert "Seq Scan on tasker_workflow_step_result_audit" not in page
    assert "idx_audit_recorded_at" not in page
    assert len(rare.execute(f"SELECT list_step_audits({filtered})".encode()).fetchall()) == count


def test_what_is_common_is_found_among_the_newest(rare: Connection) -> None:
    rare.execute(f"UPDATE {HOST.transitions} SET metadata = '{{\"event\": 2}}'".encode())
    rare.execute("VACUUM ANALYZE")
    for filtered in ("p_changed => TRUE", "p_step_name => 'step_0'"):
        plan = plans(rare, f"list_step_audits({filtered}, p_limit => 10)", {})
        assert "idx_audit_recorded_at" in plan[plan.rindex("CTE page") :], filtered
