"""What operators did to steps, as typed records, for sync and async connections."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg

from step_audit.database import call, call_async


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """What somebody told later of an action: a claim of ``recorded_by``.

    ``operator`` is None where it was erased.
    """

    operator: str | None
    reason: str | None
    source: str | None
    recorded_at: datetime
    recorded_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorAction:
    """A step was reset, resolved, completed or cancelled by hand. All times are aware and in UTC.

    ``action`` is ResetForRetry, ResolveManually, CompleteManually or Cancel. ``recorded_by`` is the
    role that did it. ``attempts`` is how often the step was tried before; None where the engine
    does not count that. ``claims`` is what the engine's event says of who and why, which nothing
    proves; None where the event cannot be read. ``attributions`` are the newest first. ``action``,
    ``to_state`` and ``claims`` are None where they were erased.
    """

    step_audit_event_uuid: UUID
    recorded_at: datetime
    recorded_by: str
    action: str | None
    task_uuid: UUID | None
    workflow_step_uuid: UUID
    workflow_step_transition_uuid: UUID
    step_name: str | None
    from_state: str | None
    to_state: str | None
    attempts: int | None
    claims: dict[str, str] | None
    attributions: list[Attribution]


def get_operator_actions(
    conn: psycopg.Connection[Any],
    *,
    step_uuid: UUID | None = None,
    task_uuid: UUID | None = None,
    attributed: bool | None = None,
    limit: int | None = None,
    schema: str | None = None,
) -> list[OperatorAction]:
    """What operators did, newest first.

    Args:
        conn: a connection with the rights of a reader.
        step_uuid: to this step.
        task_uuid: to this task's steps.
        attributed: with attributions only, or, with False, only those of which nobody has told.
        limit: no more than so many.
        schema: where step-audit is installed; found where it is None.
    """
    arguments = _arguments(step_uuid, task_uuid, attributed, limit)
    return [_action(row) for row in call(conn, schema, "list_operator_actions", **arguments)]


async def get_operator_actions_async(
    conn: psycopg.AsyncConnection[Any],
    *,
    step_uuid: UUID | None = None,
    task_uuid: UUID | None = None,
    attributed: bool | None = None,
    limit: int | None = None,
    schema: str | None = None,
) -> list[OperatorAction]:
    """What operators did, as :func:`get_operator_actions`, through an async connection."""
    arguments = _arguments(step_uuid, task_uuid, attributed, limit)
    rows = await call_async(conn, schema, "list_operator_actions", **arguments)
    return [_action(row) for row in rows]


def _arguments(
    step_uuid: UUID | None, task_uuid: UUID | None, attributed: bool | None, limit: int | None
) -> dict[str, object]:
    return {
        "p_step_uuid": step_uuid,
        "p_task_uuid": task_uuid,
        "p_attributed": attributed,
        "p_limit": limit,
    }


def _action(row: dict[str, Any]) -> OperatorAction:
    told = [
        Attribution(
            **each
            | {"recorded_at": datetime.fromisoformat(each["recorded_at"]).replace(tzinfo=UTC)}
        )
        for each in row["attributions"]
    ]
    recorded_at = row["recorded_at"].replace(tzinfo=UTC)
    return OperatorAction(**row | {"recorded_at": recorded_at, "attributions": told})
