"""The audit as typed records: thin calls of the SQL functions, for sync and async connections."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from step_audit.read.queries import Query, Reader, one_more, with_zone


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowStepResultAudit:
    """One audit row: a worker's result, by reference. All times are aware and in UTC."""

    workflow_step_result_audit_uuid: UUID
    workflow_step_uuid: UUID
    workflow_step_transition_uuid: UUID
    task_uuid: UUID
    recorded_at: datetime
    worker_uuid: UUID | None
    correlation_id: UUID | None
    success: bool
    backfilled: bool
    recorded_by: str | None
    execution_time_ms: int | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAuditWithResults(WorkflowStepResultAudit):
    """An audit row with what a join brings back.

    ``elapsed_ms`` is the time since the step last went in progress. ``result_json`` is the worker's
    whole result as the transition holds it, digit by digit; None where it holds none. ``changes``
    counts the versions of the result that stand no more; ``deleted``: the transition is gone, and
    its last version is shown.
    """

    elapsed_ms: int | None
    step_name: str | None
    from_state: str | None
    to_state: str | None
    sort_key: int | None
    result_json: str | None
    changes: int
    deleted: bool

    @property
    def result(self) -> Any:
        """The worker's whole result, parsed; None where the transition holds none.

        Raises:
            ValueError, RecursionError: Python cannot hold it: a number of thousands of digits, or
                lists that are nested as deep.
        """
        return None if self.result_json is None else json.loads(self.result_json)


@dataclass(frozen=True, slots=True)
class AuditCursor:
    """Where a page ended."""

    recorded_at: datetime
    sort_key: int | None
    audit_uuid: UUID


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some audits, newest first, and where to go on; None at the end."""

    items: list[StepAuditWithResults]
    next_cursor: AuditCursor | None


@Reader
def get_audit_history(
    step_uuid: UUID, schema: str | None = None
) -> Query[StepAuditWithResults, list[StepAuditWithResults]]:
    """All audits of one step, newest first; none for an unknown step."""
    return Query(schema, "get_step_audit_history", {"p_step_uuid": step_uuid}, _audit, list)


@Reader
def get_task_audit_history(
    task_uuid: UUID, schema: str | None = None
) -> Query[StepAuditWithResults, list[StepAuditWithResults]]:
    """All audits of one task's steps, newest first; none for an unknown task."""
    return Query(schema, "get_task_audit_history", {"p_task_uuid": task_uuid}, _audit, list)


@Reader
def find_by_uuid(
    audit_uuid: UUID, schema: str | None = None
) -> Query[StepAuditWithResults, StepAuditWithResults | None]:
    """One audit by its key; None where there is none."""
    return Query(schema, "list_step_audits", {"p_audit_uuid": audit_uuid}, _audit, _first)


@Reader
def list_audits(
    *,
    step_uuid: UUID | None = None,
    task_uuid: UUID | None = None,
    worker_uuid: UUID | None = None,
    correlation_id: UUID | None = None,
    step_name: str | None = None,
    success: bool | None = None,
    changed: bool | None = None,
    deleted: bool | None = None,
    manual: bool | None = None,
    recorded_from: datetime | None = None,
    recorded_until: datetime | None = None,
    min_execution_time_ms: int | None = None,
    max_execution_time_ms: int | None = None,
    cursor: AuditCursor | None = None,
    limit: int = 100,
    schema: str | None = None,
) -> Query[StepAuditWithResults, AuditPage]:
    """One page of the audits that all given filters let through, newest first.

    Args:
        step_uuid: of this step.
        task_uuid: of this task's steps.
        worker_uuid: by this worker.
        correlation_id: under this correlation id.
        step_name: of steps of this name.
        success: successes or failures only.
        changed: another version of it stood before, or none did.
        deleted: it stands no more, or it does.
        manual: an operator completed or resolved its step by hand, or none did.
        recorded_from: recorded then or later; a time without zone is UTC.
        recorded_until: recorded before then.
        min_execution_time_ms: reported to have taken at least so many milliseconds.
        max_execution_time_ms: reported to have taken no more.
        cursor: ``next_cursor`` of the page before.
        limit: rows of a page, 1 to 1,000,000.
        schema: where step-audit is installed; found where it is None.

    Raises:
        ValueError: the limit is out of its range.
    """
    arguments: dict[str, object] = {
        "p_step_uuid": step_uuid,
        "p_task_uuid": task_uuid,
        "p_worker_uuid": worker_uuid,
        "p_correlation_id": correlation_id,
        "p_step_name": step_name,
        "p_success": success,
        "p_changed": changed,
        "p_deleted": deleted,
        "p_manual": manual,
        "p_recorded_from": with_zone(recorded_from),
        "p_recorded_until": with_zone(recorded_until),
        "p_min_execution_time_ms": min_execution_time_ms,
        "p_max_execution_time_ms": max_execution_time_ms,
        "p_before_recorded_at": _as_column(cursor.recorded_at) if cursor else None,
        "p_before_sort_key": cursor.sort_key if cursor else None,
        "p_before_audit_uuid": cursor.audit_uuid if cursor else None,
        "p_limit": one_more(limit),
    }
    collect = functools.partial(_page, limit)
    return Query(schema, "list_step_audits", arguments, _audit, collect)


def _audit(row: dict[str, Any]) -> StepAuditWithResults:
    for name in ("recorded_at", "created_at", "updated_at"):
        row[name] = row[name].replace(tzinfo=UTC)
    return StepAuditWithResults(result_json=row.pop("result"), **row)


def _first(audits: list[StepAuditWithResults]) -> StepAuditWithResults | None:
    return next(iter(audits), None)


def _page(limit: int, audits: list[StepAuditWithResults]) -> AuditPage:
    items = audits[:limit]
    if len(audits) <= limit:
        return AuditPage(items, None)
    last = items[-1]
    return AuditPage(
        items, AuditCursor(last.recorded_at, last.sort_key, last.workflow_step_result_audit_uuid)
    )


def _as_column(time: datetime) -> datetime:
    """The time as the database keeps it: UTC, without a zone."""
    return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
