"""Clients of the HTTP service, sync and async.

A request that finds the service or its database away is tried again, with growing pauses.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Any, Self, TypedDict, TypeVar, Unpack
from uuid import UUID

try:
    import httpx
    import tenacity
    from pydantic import TypeAdapter
except ImportError as error:
    raise ImportError(
        f"{error.name} is not installed. Install it: pip install 'step-audit[client]'.",
        name=error.name,
    ) from error

from step_audit.errors import StepAuditError
from step_audit.read.changes import Operation
from step_audit.read.responses import (
    AuditPageResponse,
    ChangePageResponse,
    ErrorResponse,
    HealthResponse,
    OperatorActionResponse,
    StepAuditChangeResponse,
    StepAuditResponse,
)

T = TypeVar("T")

_HISTORY = TypeAdapter(list[StepAuditResponse])
_ACTIONS = TypeAdapter(list[OperatorActionResponse])
_PAGE = TypeAdapter(AuditPageResponse)
_HEALTH = TypeAdapter(HealthResponse)
_ONE = TypeAdapter(StepAuditResponse)
_CHANGES = TypeAdapter(list[StepAuditChangeResponse])
_CHANGE_PAGE = TypeAdapter(ChangePageResponse)


class AuditClientError(StepAuditError):
    """The service refused; ``code`` and ``message`` as it gave them."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


class AuditBadRequestError(AuditClientError):
    """The service cannot make sense of the request."""


class AuditUnauthorizedError(AuditClientError):
    """No key, or one that the service does not know."""


class AuditNotFoundError(AuditClientError):
    """No such task, step or audit; or the step is another task's."""


class AuditUnavailableError(AuditClientError):
    """The service or its database could not be reached, or not in time, however often tried."""


class AuditFilters(TypedDict, total=False):
    """What a list is filtered by; times without a zone are UTC, durations in milliseconds."""

    step_uuid: UUID
    task_uuid: UUID
    worker_uuid: UUID
    correlation_id: UUID
    step_name: str
    success: bool
    changed: bool
    deleted: bool
    manual: bool
    recorded_from: datetime
    recorded_until: datetime
    min_execution_time_ms: int
    max_execution_time_ms: int
    limit: int


class ChangeFilters(TypedDict, total=False):
    """What a list of changes is filtered by; times without a zone are UTC."""

    task_uuid: UUID
    step_uuid: UUID
    transition_uuid: UUID
    operation: Operation
    recorded_by: str
    recorded_from: datetime
    recorded_until: datetime
    limit: int


class AuditClient:
    """Reads the audit over HTTP.

    Args:
        base_url: where ``step-audit serve`` listens.
        key: the API key, if the service wants one.
        timeout: seconds to wait for a connection, and for each piece of an answer.
        attempts: how often to try where the service or its database is away.

    Raises:
        ValueError: a key that cannot be sent, or an address that is none.
    """

    def __init__(
        self, base_url: str, key: str | None = None, timeout: float = 10, attempts: int = 4
    ) -> None:
        self._http = httpx.Client(**_options(base_url, key, timeout))
        self._get = tenacity.Retrying(**_retries(attempts)).wraps(self._get_once)

    def get_step_audit_history(self, task_uuid: UUID, step_uuid: UUID) -> list[StepAuditResponse]:
        """All audited results of one step of a task, newest first.

        Raises:
            AuditClientError: one of its kinds, as the service or the connection gave it.
        """
        return self._get(_HISTORY, _step_path(task_uuid, step_uuid))

    def get_task_audit_history(self, task_uuid: UUID) -> list[StepAuditResponse]:
        """All audited results of a task's steps, newest first; raises as the step's."""
        return self._get(_HISTORY, _task_path(task_uuid))

    def get_step_actions(self, task_uuid: UUID, step_uuid: UUID) -> list[OperatorActionResponse]:
        """What operators did to one step of a task, newest first; raises as its history."""
        return self._get(_ACTIONS, _step_path(task_uuid, step_uuid, "actions"))

    def get_task_actions(self, task_uuid: UUID) -> list[OperatorActionResponse]:
        """What operators did to a task's steps, newest first; raises as its history."""
        return self._get(_ACTIONS, _task_path(task_uuid, "actions"))

    def get_step_changes(self, task_uuid: UUID, step_uuid: UUID) -> list[StepAuditChangeResponse]:
        """All changes of one step's results, newest first; raises as its history."""
        return self._get(_CHANGES, _step_path(task_uuid, step_uuid, "changes"))

    def get_task_changes(self, task_uuid: UUID) -> list[StepAuditChangeResponse]:
        """All changes of the results of a task's steps, newest first; raises as its history."""
        return self._get(_CHANGES, _task_path(task_uuid, "changes"))

    def get_audit(self, audit_uuid: UUID) -> StepAuditResponse:
        """One audited result by its key; raises as a history."""
        return self._get(_ONE, f"/v1/audit/{audit_uuid}")

    def list_audits(self, **filters: Unpack[AuditFilters]) -> Iterator[StepAuditResponse]:
        """The audited results that all filters let through, newest first, page by page.

        ``limit`` is the size of a page.
        """
        parameters = _parameters(filters)
        while True:
            page = self._get(_PAGE, "/v1/audit", parameters)
            yield from page.items
            if page.next_cursor is None:
                return
            parameters["cursor"] = page.next_cursor

    def get_health(self) -> HealthResponse:
        """That results are being audited.

        Raises:
            AuditUnavailableError: they are not, or the service or its database is away.
        """
        return self._get(_HEALTH, "/health")

    def list_changes(self, **filters: Unpack[ChangeFilters]) -> Iterator[StepAuditChangeResponse]:
        """The changes that all filters let through, newest first, page by page."""
        parameters = _parameters(filters)
        while True:
            page = self._get(_CHANGE_PAGE, "/v1/changes", parameters)
            yield from page.items
            if page.next_cursor is None:
                return
            parameters["cursor"] = str(page.next_cursor)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        """Close at the end of the ``with`` block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def _get_once(
        self, form: TypeAdapter[T], path: str, parameters: dict[str, str] | None = None
    ) -> T:
        try:
            response = self._http.get(path, params=parameters)
        except httpx.RequestError as error:
            raise _unreachable(error) from error
        return _read(response, form)


class AsyncAuditClient:
    """Reads the audit over HTTP as :class:`AuditClient` does, for asyncio."""

    def __init__(
        self, base_url: str, key: str | None = None, timeout: float = 10, attempts: int = 4
    ) -> None:
        self._http = httpx.AsyncClient(**_options(base_url, key, timeout))
        self._get = tenacity.AsyncRetrying(**_retries(attempts)).wraps(self._get_once)

    async def get_step_audit_history(
        self, task_uuid: UUID, step_uuid: UUID
    ) -> list[StepAuditResponse]:
        """All audited results of one step of a task, newest first."""
        return await self._get(_HISTORY, _step_path(task_uuid, step_uuid))

    async def get_task_audit_history(self, task_uuid: UUID) -> list[StepAuditResponse]:
        """All audited results of a task's steps, newest first."""
        return await self._get(_HISTORY, _task_path(task_uuid))

    async def get_step_actions(
        self, task_uuid: UUID, step_uuid: UUID
    ) -> list[OperatorActionResponse]:
        """What operators did to one step of a task, newest first."""
        return await self._get(_ACTIONS, _step_path(task_uuid, step_uuid, "actions"))

    async def get_task_actions(self, task_uuid: UUID) -> list[OperatorActionResponse]:
        """What operators did to a task's steps, newest first."""
        return await self._get(_ACTIONS, _task_path(task_uuid, "actions"))

    async def get_step_changes(
        self, task_uuid: UUID, step_uuid: UUID
    ) -> list[StepAuditChangeResponse]:
        """All changes of one step's results, newest first."""
        return await self._get(_CHANGES, _step_path(task_uuid, step_uuid, "changes"))

    async def get_task_changes(self, task_uuid: UUID) -> list[StepAuditChangeResponse]:
        """All changes of the results of a task's steps, newest first."""
        return await self._get(_CHANGES, _task_path(task_uuid, "changes"))

    async def get_audit(self, audit_uuid: UUID) -> StepAuditResponse:
        """One audited result by its key."""
        return await self._get(_ONE, f"/v1/audit/{audit_uuid}")

    async def list_audits(
        self, **filters: Unpack[AuditFilters]
    ) -> AsyncIterator[StepAuditResponse]:
        """The audited results that all filters let through, newest first, page by page."""
        parameters = _parameters(filters)
        while True:
            page = await self._get(_PAGE, "/v1/audit", parameters)
            for item in page.items:
                yield item
            if page.next_cursor is None:
                return
            parameters["cursor"] = page.next_cursor

    async def get_health(self) -> HealthResponse:
        """That results are being audited; raises as :meth:`AuditClient.get_health`."""
        return await self._get(_HEALTH, "/health")

    async def list_changes(
        self, **filters: Unpack[ChangeFilters]
    ) -> AsyncIterator[StepAuditChangeResponse]:
        """The changes that all filters let through, newest first, page by page."""
        parameters = _parameters(filters)
        while True:
            page = await self._get(_CHANGE_PAGE, "/v1/changes", parameters)
            for item in page.items:
                yield item
            if page.next_cursor is None:
                return
            parameters["cursor"] = str(page.next_cursor)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        """Close at the end of the ``async with`` block."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self.close()

    async def _get_once(
        self, form: TypeAdapter[T], path: str, parameters: dict[str, str] | None = None
    ) -> T:
        try:
            response = await self._http.get(path, params=parameters)
        except httpx.RequestError as error:
            raise _unreachable(error) from error
        return _read(response, form)


def _options(base_url: str, key: str | None, timeout: float) -> dict[str, Any]:
    if httpx.URL(base_url).scheme not in {"http", "https"}:
        raise ValueError(f"{base_url!r} is no address of a service, like http://localhost:8080")
    if key and not (key.isascii() and key.isprintable()):
        raise ValueError("the key cannot be sent in a header: it is not printable ASCII")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return {"base_url": base_url, "headers": headers, "timeout": timeout}


def _retries(attempts: int) -> dict[str, Any]:
    return {
        "retry": tenacity.retry_if_exception_type(AuditUnavailableError),
        "stop": tenacity.stop_after_attempt(attempts),
        "wait": tenacity.wait_exponential_jitter(multiplier=0.2, max=5, jitter=0.2),
        "reraise": True,
    }


def _step_path(task_uuid: UUID, step_uuid: UUID, of: str = "audit") -> str:
    return f"/v1/tasks/{task_uuid}/workflow_steps/{step_uuid}/{of}"


def _task_path(task_uuid: UUID, of: str = "audit") -> str:
    return f"/v1/tasks/{task_uuid}/{of}"


def _parameters(filters: AuditFilters | ChangeFilters) -> dict[str, str]:
    return {name: _parameter(value) for name, value in filters.items() if value is not None}


def _parameter(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value).lower() if isinstance(value, bool) else str(value)


_KINDS = {
    400: AuditBadRequestError,
    401: AuditUnauthorizedError,
    404: AuditNotFoundError,
    # What a proxy says when the service is away, and what the service says of its database.
    502: AuditUnavailableError,
    503: AuditUnavailableError,
    504: AuditUnavailableError,
}


def _read(response: httpx.Response, form: TypeAdapter[T]) -> T:
    if not response.is_success:
        raise _refusal(response)
    try:
        # By json, since pydantic's own parser refuses lone surrogates, which a result may hold.
        return form.validate_python(json.loads(response.content))
    except (ValueError, RecursionError) as error:
        raise AuditClientError(
            "INVALID_RESPONSE", "the answer is not step-audit's, or holds what Python cannot"
        ) from error


def _refusal(response: httpx.Response) -> AuditClientError:
    kind = _KINDS.get(response.status_code, AuditClientError)
    try:
        error = ErrorResponse.model_validate_json(response.content).error
    except ValueError:
        # Something between us and the service answered.
        return kind(f"HTTP_{response.status_code}", response.reason_phrase)
    return kind(error.code, error.message)


def _unreachable(error: httpx.RequestError) -> AuditUnavailableError:
    reason = str(error) or type(error).__name__
    return AuditUnavailableError("CONNECTION_ERROR", f"{error.request.url}: {reason}")
