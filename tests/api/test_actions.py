"""Operator actions by command, HTTP and Python: what the list in SQL has, in each form."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import uuid
from datetime import timedelta
from typing import Any

import httpx
import psycopg
import pytest

from step_audit import (
    AsyncAuditClient,
    AuditClient,
    AuditNotFoundError,
    OperatorActionResponse,
    get_operator_actions,
    get_operator_actions_async,
)
from step_audit.database import Connection, call
from tests.support.command import step_audit, succeed
from tests.support.connect import dsn_of
from tests.support.host import HOST, OK, Step, Transition, create_steps, insert_each

CLAIMS = {"completed_by": "ann ☕", "completion_reason": "paid by hand"}
EVENT = {"type": "CompleteManually", "data": {"metadata": {"custom": CLAIMS}}}


@pytest.fixture
def steps(conn: Connection) -> list[Step]:
    """Two steps of a task: one completed by hand, which was told of twice, and one cancelled."""
    steps = create_steps(conn, 2)
    metadata = json.dumps({"event": json.dumps(EVENT)})
    insert_each(
        conn,
        [
            Transition(steps[0], OK, "{}", 0, "in_progress"),
            Transition(steps[0], "complete", metadata, 1, "error"),
            Transition(steps[1], "cancelled", "{}", 1, "pending"),
        ],
    )
    (action,) = listed(conn, p_step_uuid=steps[0].step_uuid)
    for operator, more in (("bob", ["--reason", "he said so", "--source", "mail"]), ("ann", [])):
        done = step_audit(
            *("attribute", str(action["workflow_step_transition_uuid"])),
            *("--operator", operator, *more),
            to=conn,
        )
        assert (done.code, done.err) == (0, "")
        assert done.out == (
            f"the action of transition {action['workflow_step_transition_uuid']} is attributed "
            f"to {operator}\n"
        )
    return steps


def listed(conn: Connection, **filters: object) -> list[dict[str, Any]]:
    return call(conn, HOST.audit_schema, "list_operator_actions", **filters)


def as_replied(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the list as the service has it."""

    def utc(time: str) -> str:
        return time.replace(" ", "T").ljust(26, "0") + "Z"

    return {
        "event_uuid": str(row["step_audit_event_uuid"]),
        "action": row["action"],
        "workflow_step_uuid": str(row["workflow_step_uuid"]),
        "transition_uuid": str(row["workflow_step_transition_uuid"]),
        "task_uuid": str(row["task_uuid"]),
        "recorded_at": row["recorded_at"].isoformat(timespec="microseconds") + "Z",
        "recorded_by": row["recorded_by"],
        "step_name": row["step_name"],
        "from_state": row["from_state"],
        "to_state": row["to_state"],
        "attempts": row["attempts"],
        "claims": row["claims"],
        "attributions": [
            told | {"recorded_at": utc(told["recorded_at"])} for told in row["attributions"]
        ],
    }


def paths(step: Step) -> tuple[str, str]:
    task = f"/v1/tasks/{step.task_uuid}"
    return f"{task}/workflow_steps/{step.step_uuid}/actions", f"{task}/actions"


def test_the_service_has_the_actions_of_a_step_and_of_a_task(
    conn: Connection, steps: list[Step], http: httpx.Client
) -> None:
    rows = [as_replied(row) for row in listed(conn)]
    assert [row["action"] for row in rows] == ["Cancel", "CompleteManually"]
    assert rows[1]["claims"] == CLAIMS
    assert [told["operator"] for told in rows[1]["attributions"]] == ["ann", "bob"]
    of_step, of_task = paths(steps[0])
    assert http.get(of_step).json() == rows[1:]
    assert http.get(of_task).json() == rows


def test_a_step_without_actions_has_none_and_an_unknown_one_is_not_found(
    conn: Connection, http: httpx.Client
) -> None:
    here, elsewhere = create_steps(conn, 2, per_task=1)
    for path in paths(here):
        assert http.get(path).json() == []
    for step in (
        Step(here.step_uuid, elsewhere.task_uuid, ""),
        Step(uuid.uuid4(), uuid.uuid4(), ""),
    ):
        assert http.get(paths(step)[0]).status_code == 404
    assert http.get(paths(Step(uuid.uuid4(), uuid.uuid4(), ""))[1]).status_code == 404


def test_the_actions_of_a_step_stay_when_the_engine_deletes_it(
    conn: Connection, steps: list[Step], http: httpx.Client
) -> None:
    for table in (*HOST.own_audit, HOST.transitions, HOST.steps, HOST.tasks):
        conn.execute(f"DELETE FROM {table}".encode())
    of_step, of_task = paths(steps[1])
    (cancelled,) = http.get(of_step).json()
    assert (cancelled["action"], cancelled["step_name"]) == ("Cancel", steps[1].name)
    names = [row["step_name"] for row in http.get(of_task).json()]
    assert names == [steps[1].name, steps[0].name]


def test_both_clients_give_them_typed(conn: Connection, steps: list[Step], address: str) -> None:
    step = steps[0]

    async def ask() -> list[list[OperatorActionResponse]]:
        async with AsyncAuditClient(address) as client:
            return [
                await client.get_step_actions(step.task_uuid, step.step_uuid),
                await client.get_task_actions(step.task_uuid),
            ]

    with AuditClient(address) as client:
        found = [
            client.get_step_actions(step.task_uuid, step.step_uuid),
            client.get_task_actions(step.task_uuid),
        ]
        with pytest.raises(AuditNotFoundError):
            client.get_task_actions(step.step_uuid)
    assert found == asyncio.run(ask())
    rows = [as_replied(row) for row in listed(conn)]
    assert [each.model_dump(mode="json") for each in found[0]] == rows[1:]
    assert [each.model_dump(mode="json") for each in found[1]] == rows
    assert found[0][0].attributions[0].recorded_at.utcoffset() == timedelta(0)


def test_python_reads_them_from_the_database(conn: Connection, steps: list[Step]) -> None:
    everything = get_operator_actions(conn)
    cancelled, completed = everything
    assert (cancelled.action, cancelled.attributions) == ("Cancel", [])
    assert completed.claims == CLAIMS
    assert [told.operator for told in completed.attributions] == ["ann", "bob"]
    assert completed.attributions[1].reason == "he said so"
    assert completed.recorded_at.utcoffset() == timedelta(0)
    assert completed.attributions[0].recorded_at >= completed.recorded_at
    assert get_operator_actions(conn, attributed=False) == [cancelled]
    assert get_operator_actions(conn, attributed=True) == [completed]
    assert get_operator_actions(conn, step_uuid=steps[1].step_uuid) == [cancelled]
    assert get_operator_actions(conn, task_uuid=steps[1].task_uuid, limit=1) == [cancelled]

    async def ask() -> object:
        async with await psycopg.AsyncConnection.connect(dsn_of(conn)) as client:
            return await get_operator_actions_async(client)

    assert asyncio.run(ask()) == everything


def test_the_command_prints_a_table_and_the_queue(conn: Connection, steps: list[Step]) -> None:
    heading, cancelled, completed = succeed("actions", to=conn).splitlines()
    assert heading.split("  ")[0] == "recorded at, UTC"
    assert "  Cancel  " in cancelled
    assert f"  completed_by: ann ☕, completion_reason: {CLAIMS['completion_reason']}" in completed
    assert "  ann and 1 more  " in completed
    (queued,) = succeed("actions", "--unattributed", to=conn).splitlines()[1:]
    (of_step,) = succeed("actions", str(steps[1].step_uuid), to=conn).splitlines()[1:]
    assert queued == of_step
    unknown = step_audit("actions", str(uuid.uuid4()), to=conn)
    assert (unknown.code, unknown.out) == (4, "")


@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
def test_the_command_prints_them_for_programs(
    conn: Connection, steps: list[Step], form: str
) -> None:
    arguments = ("actions", "--task", str(steps[0].task_uuid), "--format", form)
    printed = succeed(*arguments, to=conn)
    rows = listed(conn)
    if form == "csv":
        found = list(csv.DictReader(io.StringIO(printed)))
        assert [json.loads(row["attributions"]) for row in found] == [
            row["attributions"] for row in rows
        ]
    else:
        found = (
            json.loads(printed)
            if form == "json"
            else [json.loads(line) for line in printed.splitlines()]
        )
        assert [row["claims"] for row in found] == [row["claims"] for row in rows]
        assert [row["attributions"] for row in found] == [row["attributions"] for row in rows]
    assert [row["action"] for row in found] == [row["action"] for row in rows]


def test_the_command_says_where_there_are_more(conn: Connection, steps: list[Step]) -> None:
    done = step_audit("actions", "--limit", "1", to=conn)
    assert len(done.out.splitlines()) == 2
    assert done.err == "these are the newest 1; there are more, see --limit\n"


def test_the_command_says_what_is_no_action(conn: Connection) -> None:
    unknown = uuid.uuid4()
    done = step_audit("attribute", str(unknown), "--operator", "ann", to=conn)
    assert (done.code, done.out) == (3, "")
    assert done.err == (
        f"step-audit: the database says: transition {unknown} is no operator action that was "
        "recorded; nothing was written. list_operator_actions() has them, with their "
        "workflow_step_transition_uuid.\n"
    )
