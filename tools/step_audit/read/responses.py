"""What the HTTP service sends and the client receives."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import pydantic_core
from pydantic import BaseModel, ConfigDict, PlainSerializer, WithJsonSchema

from step_audit.read.actions import OperatorAction
from step_audit.read.audit import StepAuditWithResults
from step_audit.read.changes import Operation, StepAuditChange


def rfc3339(time: datetime) -> str:
    """The time in UTC with microseconds: ``2026-11-22T20:28:27.597000Z``."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


Timestamp = Annotated[
    datetime,
    PlainSerializer(rfc3339, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


class StepAuditResponse(BaseModel):
    """One audited result; ``result`` is what the worker reported, as the transition holds it."""

    model_config = ConfigDict(frozen=True)

    audit_uuid: UUID
    workflow_step_uuid: UUID
    transition_uuid: UUID
    task_uuid: UUID
    recorded_at: Timestamp
    worker_uuid: UUID | None
    correlation_id: UUID | None
    success: bool
    execution_time_ms: int | None
    elapsed_ms: int | None
    backfilled: bool
    recorded_by: str | None
    step_name: str
    from_state: str | None
    to_state: str
    changes: int
    deleted: bool
    result: Any

    @classmethod
    def of(cls, audit: StepAuditWithResults) -> StepAuditResponse:
        """The response for an audit; where no trace of its transition is left, texts are empty."""
        return cls.model_construct(**_references(audit), result=audit.result)


def to_json(audit: StepAuditWithResults) -> bytes:
    """The response for an audit as JSON, in which the result stands as the transition holds it."""
    return _with_result(_references(audit), audit.result_json)


def _with_result(members: dict[str, Any], result: str | None) -> bytes:
    """A JSON object of members and, digit by digit, a result."""
    written = {
        name: rfc3339(value) if isinstance(value, datetime) else value
        for name, value in members.items()
    }
    return b'%b,"result":%b}' % (pydantic_core.to_json(written)[:-1], (result or "null").encode())


def _references(audit: StepAuditWithResults) -> dict[str, Any]:
    return {
        "audit_uuid": audit.workflow_step_result_audit_uuid,
        "workflow_step_uuid": audit.workflow_step_uuid,
        "transition_uuid": audit.workflow_step_transition_uuid,
        "task_uuid": audit.task_uuid,
        "recorded_at": audit.recorded_at,
        "worker_uuid": audit.worker_uuid,
        "correlation_id": audit.correlation_id,
        "success": audit.success,
        "execution_time_ms": audit.execution_time_ms,
        "elapsed_ms": audit.elapsed_ms,
        "backfilled": audit.backfilled,
        "recorded_by": audit.recorded_by,
        "step_name": audit.step_name or "",
        "from_state": audit.from_state,
        "to_state": audit.to_state or "",
        "changes": audit.changes,
        "deleted": audit.deleted,
    }


class StepAuditChangeResponse(BaseModel):
    """A version of a result that stands no more: what ended it, when and by which role."""

    model_config = ConfigDict(frozen=True)

    change_uuid: UUID
    operation: Operation
    audit_uuid: UUID | None
    workflow_step_uuid: UUID | None
    transition_uuid: UUID | None
    task_uuid: UUID | None
    recorded_at: Timestamp
    recorded_by: str
    step_name: str
    from_state: str | None
    to_state: str
    result: Any

    @classmethod
    def of(cls, change: StepAuditChange) -> StepAuditChangeResponse:
        """The response for a change; where nothing tells the step's name, it is empty."""
        return cls.model_construct(**_version(change), result=change.result)


def change_to_json(change: StepAuditChange) -> bytes:
    """The response for a change as JSON, in which the result stands as the transition held it."""
    return _with_result(_version(change), change.result_json)


def _version(change: StepAuditChange) -> dict[str, Any]:
    return {
        "change_uuid": change.step_audit_change_uuid,
        "operation": change.operation,
        "audit_uuid": change.workflow_step_result_audit_uuid,
        "workflow_step_uuid": change.workflow_step_uuid,
        "transition_uuid": change.workflow_step_transition_uuid,
        "task_uuid": change.task_uuid,
        "recorded_at": change.recorded_at,
        "recorded_by": change.recorded_by,
        "step_name": change.step_name or "",
        "from_state": change.from_state,
        "to_state": change.to_state,
    }


class AttributionResponse(BaseModel):
    """What somebody, ``recorded_by``, told later of an action; null where it was erased."""

    model_config = ConfigDict(frozen=True)

    operator: str | None
    reason: str | None
    source: str | None
    recorded_at: Timestamp
    recorded_by: str


class OperatorActionResponse(BaseModel):
    """What an operator did to a step; nothing proves ``claims`` and ``attributions``.

    ``action``, ``to_state`` and ``claims`` are null where they were erased.
    """

    model_config = ConfigDict(frozen=True)

    event_uuid: UUID
    action: str | None
    workflow_step_uuid: UUID
    transition_uuid: UUID
    task_uuid: UUID | None
    recorded_at: Timestamp
    recorded_by: str
    step_name: str
    from_state: str | None
    to_state: str | None
    attempts: int | None
    claims: dict[str, str] | None
    attributions: list[AttributionResponse]

    @classmethod
    def of(cls, action: OperatorAction) -> OperatorActionResponse:
        """The response for an action; where its step is gone, the name is empty."""
        return cls(
            event_uuid=action.step_audit_event_uuid,
            action=action.action,
            workflow_step_uuid=action.workflow_step_uuid,
            transition_uuid=action.workflow_step_transition_uuid,
            task_uuid=action.task_uuid,
            recorded_at=action.recorded_at,
            recorded_by=action.recorded_by,
            step_name=action.step_name or "",
            from_state=action.from_state,
            to_state=action.to_state,
            attempts=action.attempts,
            claims=action.claims,
            attributions=[
                AttributionResponse.model_validate(told, from_attributes=True)
                for told in action.attributions
            ],
        )


class AuditPageResponse(BaseModel):
    """One page of a list; ``next_cursor`` is null on the last."""

    items: list[StepAuditResponse]
    next_cursor: str | None


class ChangePageResponse(BaseModel):
    """One page of a list of changes; ``next_cursor`` is null on the last."""

    items: list[StepAuditChangeResponse]
    next_cursor: UUID | None


class ErrorDetail(BaseModel):
    """What went wrong: a code for programs, a message for people."""

    code: str
    message: str


class ErrorResponse(BaseModel):
    """The body of every error."""

    error: ErrorDetail


class HealthResponse(BaseModel):
    """Results are being audited."""

    status: str
    release: str
    attached: bool
    trigger_state: str


class ProbeResponse(BaseModel):
    """What was asked for is so."""

    status: str
