"""What was changed of results, as typed records: each version that stands no more."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from step_audit.read.queries import Query, Reader, one_more, with_zone

Operation = Literal["update", "delete", "truncate", "insert"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAuditChange:
    """A version of a worker's result before it was changed or deleted. Times are aware and in UTC.

    ``operation`` ended it; with ``insert`` it is what came again under the uuid of an audited
    result, as it came. ``recorded_at`` and ``recorded_by`` tell when, and by which role.
    ``workflow_step_result_audit_uuid`` and ``task_uuid`` are None where it has no audit row.
    ``result_json`` is the worker's whole result as it stood; None where there was none, or where it
    was erased.
    """

    step_audit_change_uuid: UUID
    operation: Operation
    recorded_at: datetime
    recorded_by: str
    recorded_xid: int
    workflow_step_result_audit_uuid: UUID | None
    task_uuid: UUID | None
    workflow_step_uuid: UUID | None
    workflow_step_transition_uuid: UUID | None
    step_name: str | None
    from_state: str | None
    to_state: str
    sort_key: int | None
    transition_created_at: datetime | None
    result_json: str | None

    @property
    def result(self) -> Any:
        """The worker's whole result as it stood, parsed.

        Raises:
            ValueError, RecursionError: Python cannot hold it.
        """
        return None if self.result_json is None else json.loads(self.result_json)


@dataclass(frozen=True, slots=True)
class ChangePage:
    """Some changes, newest first, and where to go on; None at the end."""

    items: list[StepAuditChange]
    next_cursor: UUID | None


@Reader
def get_step_changes(
    step_uuid: UUID, schema: str | None = None
) -> Query[StepAuditChange, list[StepAuditChange]]:
    """All changes of one step's results, newest first; none for an unknown step."""
    arguments: dict[str, object] = {"p_step_uuid": step_uuid, "p_limit": None}
    return Query(schema, "list_step_audit_changes", arguments, _change, list)


@Reader
def get_task_changes(
    task_uuid: UUID, schema: str | None = None
) -> Query[StepAuditChange, list[StepAuditChange]]:
    """All changes of the results of a task's steps, newest first; none for an unknown task."""
    arguments: dict[str, object] = {"p_task_uuid": task_uuid, "p_limit": None}
    return Query(schema, "list_step_audit_changes", arguments, _change, list)


@Reader
def list_changes(
    *,
    task_uuid: UUID | None = None,
    step_uuid: UUID | None = None,
    transition_uuid: UUID | None = None,
    operation: Operation | None = None,
    recorded_by: str | None = None,
    recorded_from: datetime | None = None,
    recorded_until: datetime | None = None,
    cursor: UUID | None = None,
    limit: int = 100,
    schema: str | None = None,
) -> Query[StepAuditChange, ChangePage]:
    """One page of the changes that all given filters let through, newest first.

    Args:
        task_uuid: of this task's results.
        step_uuid: of this step's.
        transition_uuid: of this result.
        operation: what was done.
        recorded_by: by this role.
        recorded_from: recorded then or later; a time without zone is UTC.
        recorded_until: recorded before then.
        cursor: ``next_cursor`` of the page before.
        limit: rows of a page, 1 to 1,000,000.
        schema: where step-audit is installed; found where it is None.

    Raises:
        ValueError: the limit is out of its range.
    """
    arguments: dict[str, object] = {
        "p_task_uuid": task_uuid,
        "p_step_uuid": step_uuid,
        "p_transition_uuid": transition_uuid,
        "p_operation": operation,
        "p_recorded_by": recorded_by,
        "p_recorded_from": with_zone(recorded_from),
        "p_recorded_until": with_zone(recorded_until),
        "p_before_change_uuid": cursor,
        "p_limit": one_more(limit),
    }
    collect = functools.partial(_page, limit)
    return Query(schema, "list_step_audit_changes", arguments, _change, collect)


def _change(row: dict[str, Any]) -> StepAuditChange:
    created_at = row["transition_created_at"]
    times = {
        "recorded_at": row["recorded_at"].replace(tzinfo=UTC),
        "transition_created_at": created_at and created_at.replace(tzinfo=UTC),
    }
    return StepAuditChange(result_json=row.pop("result"), **row | times)


def _page(limit: int, changes: list[StepAuditChange]) -> ChangePage:
    items = changes[:limit]
    more = len(changes) > limit
    return ChangePage(items, items[-1].step_audit_change_uuid if more else None)
