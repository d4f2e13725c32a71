"""From a worker's result to the client: processor, trigger, HTTP."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from step_audit import (
    AuditClient,
    EventType,
    StepEvent,
    StepResultProcessor,
    StepStateMachine,
)
from step_audit.database import Connection
from tests.support.connect import dsn_of
from tests.support.host import FAILED, OK, create_steps
from tests.support.service import running_command


@pytest.mark.parametrize(("success", "state"), [(True, OK), (False, FAILED)])
def test_what_a_worker_reports_is_what_the_client_reads(
    conn: Connection, success: bool, state: str
) -> None:
    (step,) = create_steps(conn)
    task = conn.execute("SELECT correlation_id FROM tasker_tasks").fetchone()
    assert task is not None
    machine = StepStateMachine(conn)
    machine.transition(step.step_uuid, StepEvent(EventType.ENQUEUE))
    machine.transition(step.step_uuid, StepEvent(EventType.START))
    worker = uuid.uuid4()
    result: dict[str, Any] = {
        "step_uuid": str(step.step_uuid),
        "success": success,
        "result": {"charged": 12.5, "note": "café \0 ☕ \ud800", "items": [1, None, True]},
        "metadata": {"execution_time_ms": 62},
        "status": "completed" if success else "error",
        "error": None if success else {"message": "declined", "retryable": False},
    }
    processor = StepResultProcessor(conn, worker)
    began = datetime.now(UTC)
    written = processor.handle_send_step_result(result)

    with running_command("--dsn", dsn_of(conn)) as address, AuditClient(address) as client:
        (audit,) = client.get_step_audit_history(step.task_uuid, step.step_uuid)
        assert client.get_task_audit_history(step.task_uuid) == [audit]
        assert list(client.list_audits(worker_uuid=worker, success=success)) == [audit]

    assert audit.model_dump(mode="json")["recorded_at"].endswith("Z")
    fields = audit.model_dump()
    assert [name for name, value in fields.items() if value is None] == []
    key, recorded_at = fields.pop("audit_uuid"), fields.pop("recorded_at")
    assert key.version == 7
    assert 0 <= fields.pop("elapsed_ms") < 60_000
    assert began - timedelta(seconds=1) < recorded_at < datetime.now(UTC) + timedelta(seconds=1)
    assert fields == {
        "workflow_step_uuid": step.step_uuid,
        "transition_uuid": written.transition_uuid,
        "task_uuid": step.task_uuid,
        "worker_uuid": worker,
        "correlation_id": task["correlation_id"],
        "success": success,
        "execution_time_ms": 62,
        "backfilled": False,
        "recorded_by": "postgres",
        "step_name": step.name,
        "from_state": "in_progress",
        "to_state": state,
        "changes": 0,
        "deleted": False,
        "result": result,
    }
