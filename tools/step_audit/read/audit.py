"""The audit as typed records: thin calls of the SQL functions, for sync and async connections."""

from __future__ import annotations

import functools
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, LiteralString, ParamSpec, TypeVar, overload
from uuid import UUID

import psycopg

from step_audit.database import call, call_async, stream_async

_MAX_LIMIT = 1_000_000

P = ParamSpec("P")
T = TypeVar("T")


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


@dataclass(frozen=True, slots=True)
class _Query(Generic[T]):
    """A function to call, and what to make of its rows."""

    schema: str | None
    function: LiteralString
    arguments: dict[str, object]
    build: Callable[[list[dict[str, Any]]], T]


class _Reader(Generic[P, T]):
    """Runs the query that the decorated function describes, on either kind of connection.

    Called with an async connection it gives an awaitable.
    """

    def __init__(self, describe: Callable[P, _Query[T]]) -> None:
        functools.update_wrapper(self, describe)
        self._describe = describe

    async def stream(
        self, conn: psycopg.AsyncConnection[Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[StepAuditWithResults]:
        """Give the audits as they come from the server, whatever their number.

        Close the generator where its end may not be reached: that cancels the query.
        """
        query = self._describe(*args, **kwargs)
        rows = stream_async(conn, query.schema, query.function, **query.arguments)
        async with aclosing(rows):
            async for row in rows:
                yield _audit(row)

    @overload
    def __call__(
        self, conn: psycopg.Connection[Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...
    @overload
    def __call__(
        self, conn: psycopg.AsyncConnection[Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> Awaitable[T]: ...
    def __call__(
        self,
        conn: psycopg.Connection[Any] | psycopg.AsyncConnection[Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T | Awaitable[T]:
        query = self._describe(*args, **kwargs)
        if isinstance(conn, psycopg.AsyncConnection):
            return _run_async(conn, query)
        return query.build(call(conn, query.schema, query.function, **query.arguments))


async def _run_async(conn: psycopg.AsyncConnection[Any], query: _Query[T]) -> T:
    rows = await call_async(conn, query.schema, query.function, **query.arguments)
    return query.build(rows)


@_Reader
def get_audit_history(
    step_uuid: UUID, schema: str | None = None
) -> _Query[list[StepAuditWithResults]]:
    """All audits of one step, newest first; none for an unknown step."""
    return _Query(schema, "get_step_audit_history", {"p_step_uuid": step_uuid}, _audits)


@_Reader
def get_task_audit_history(
    task_uuid: UUID, schema: str | None = None
) -> _Query[list[StepAuditWithResults]]:
    """All audits of one task's steps, newest first; none for an unknown task."""
    return _Query(schema, "get_task_audit_history", {"p_task_uuid": task_uuid}, _audits)


@_Reader
def find_by_uuid(
    audit_uuid: UUID, schema: str | None = None
) -> _Query[StepAuditWithResults | None]:
    """One audit by its key; None where there is none."""
    return _Query(schema, "list_step_audits", {"p_audit_uuid": audit_uuid}, _first)


@_Reader
def list_audits(
    *,
    step_uuid: UUID | None = None,
    task_uuid: UUID | None = None,
    worker_uuid: UUID | None = None,
    correlation_id: UUID | None = None,
    success: bool | None = None,
    recorded_from: datetime | None = None,
    recorded_until: datetime | None = None,
    min_execution_time_ms: int | None = None,
    cursor: AuditCursor | None = None,
    limit: int = 100,
    schema: str | None = None,
) -> _Query[AuditPage]:
    """One page of the audits that all given filters let through, newest first.

    Args:
        step_uuid: of this step.
        task_uuid: of this task's steps.
        worker_uuid: by this worker.
        correlation_id: under this correlation id.
        success: successes or failures only.
        recorded_from: recorded then or later; a time without zone is UTC.
        recorded_until: recorded before then.
        min_execution_time_ms: reported to have taken at least so many milliseconds.
        cursor: ``next_cursor`` of the page before.
        limit: rows of a page, 1 to 1,000,000.
        schema: where step-audit is installed; found where it is None.

    Raises:
        ValueError: the limit is out of its range.
    """
    if not 1 <= limit <= _MAX_LIMIT:
        raise ValueError(f"the limit must be from 1 to {_MAX_LIMIT}, not {limit}")
    arguments: dict[str, object] = {
        "p_step_uuid": step_uuid,
        "p_task_uuid": task_uuid,
        "p_worker_uuid": worker_uuid,
        "p_correlation_id": correlation_id,
        "p_success": success,
        "p_recorded_from": _without_zone(recorded_from),
        "p_recorded_until": _without_zone(recorded_until),
        "p_min_execution_time_ms": min_execution_time_ms,
        "p_before_recorded_at": _without_zone(cursor.recorded_at) if cursor else None,
        "p_before_sort_key": cursor.sort_key if cursor else None,
        "p_before_audit_uuid": cursor.audit_uuid if cursor else None,
        # One row more tells whether there is another page.
        "p_limit": limit + 1,
    }
    return _Query(schema, "list_step_audits", arguments, functools.partial(_page, limit))


def _audit(row: dict[str, Any]) -> StepAuditWithResults:
    for name in ("recorded_at", "created_at", "updated_at"):
        row[name] = row[name].replace(tzinfo=UTC)
    return StepAuditWithResults(result_json=row.pop("result"), **row)


def _audits(rows: list[dict[str, Any]]) -> list[StepAuditWithResults]:
    return [_audit(row) for row in rows]


def _first(rows: list[dict[str, Any]]) -> StepAuditWithResults | None:
    return next(iter(_audits(rows)), None)


def _page(limit: int, rows: list[dict[str, Any]]) -> AuditPage:
    items = _audits(rows[:limit])
    if len(rows) <= limit:
        return AuditPage(items, None)
    last = items[-1]
    return AuditPage(
        items, AuditCursor(last.recorded_at, last.sort_key, last.workflow_step_result_audit_uuid)
    )


def _without_zone(time: datetime | None) -> datetime | None:
    """The time as the database keeps it: UTC, without a zone."""
    return time.astimezone(UTC).replace(tzinfo=None) if time and time.tzinfo else time
