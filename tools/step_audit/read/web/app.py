"""The application: routes over the SQL functions."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any
from uuid import UUID

import psycopg
from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.responses import Response
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from starlette.exceptions import HTTPException

from step_audit.database import call_async
from step_audit.errors import StepAuditError
from step_audit.read.actions import get_operator_actions_async
from step_audit.read.audit import (
    AuditCursor,
    find_by_uuid,
    get_audit_history,
    get_task_audit_history,
    list_audits,
)
from step_audit.read.changes import (
    Operation,
    get_step_changes,
    get_task_changes,
    list_changes,
)
from step_audit.read.responses import (
    AuditPageResponse,
    ChangePageResponse,
    ErrorResponse,
    HealthResponse,
    OperatorActionResponse,
    ProbeResponse,
    StepAuditChangeResponse,
    StepAuditResponse,
    change_to_json,
    to_json,
)
from step_audit.read.web.arrays import reply_with_array
from step_audit.read.web.cursors import decode_cursor, encode_cursor
from step_audit.read.web.errors import TOLD, add_error_handlers, reason_of
from step_audit.read.web.head import HeadAsGet
from step_audit.read.web.keys import Keys
from step_audit.read.web.metrics import Metrics, RequestTimes
from step_audit.read.web.page import add_page, show_errors
from step_audit.read.web.pool import Conn, Pool, connection_settings
from step_audit.setup.sources import load_sources

_MAX_BIGINT = 2**63 - 1

_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The request makes no sense."},
    401: {"description": "No valid key."},
    404: {"description": "No such task, step or audit; or the step is another task's."},
    503: {"description": "The database cannot be read, or results are not being audited."},
    "default": {"description": "Any other error."},
}


_TEXT = {"schema": {"type": "string"}}


def _documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    documented: tuple[int | str, ...] = (*statuses, "default")
    return {status: {**_ERRORS[status], "model": ErrorResponse} for status in documented}


def create_app(
    dsn: str | None = None,
    schema: str | None = None,
    keys: Keys | None = None,
    statement_timeout: str = "30s",
) -> FastAPI:
    """Make the application; it connects when it starts, and again when the database comes back.

    Args:
        dsn: connection string; None for ``STEP_AUDIT_DSN`` or libpq's ``PG*``.
        schema: where step-audit is installed; found where it is None.
        keys: who may read; empty or None for everybody.
        statement_timeout: how long a query may take, its reply included, like ``30s``.

    Raises:
        CannotConnectError: the connection string is none.
    """
    settings = connection_settings(dsn)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with Pool(settings, statement_timeout) as app.state.pool:
            yield

    app = FastAPI(
        title="step-audit",
        description="The audited results of a workflow engine's steps, read-only.",
        version=load_sources().release,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.schema = schema
    app.state.keys = keys or Keys([])
    app.state.metrics = Metrics()
    app.include_router(_public)
    app.include_router(_audit)
    app.add_middleware(RequestTimes, metrics=app.state.metrics)
    app.add_middleware(HeadAsGet)
    add_page(app, _Filters)
    add_error_handlers(app)
    show_errors(app)
    return app


_bearer = HTTPBearer(auto_error=False)
_api_key = APIKeyHeader(name="X-API-Key", auto_error=False)


async def _check_key(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    api_key: Annotated[str | None, Depends(_api_key)],
) -> None:
    keys: Keys = request.app.state.keys
    token = bearer.credentials if bearer else None
    if keys and not (keys.accept(token) or keys.accept(api_key)):
        raise HTTPException(401, "a valid key is needed", {"WWW-Authenticate": "Bearer"})


_public = APIRouter()
_audit = APIRouter(prefix="/v1", dependencies=[Depends(_check_key)])


@_public.get("/livez", responses=_documented())
async def livez() -> ProbeResponse:
    """Whether the service runs, whatever the database does: where it does not, start it anew."""
    return ProbeResponse(status="ok")


@_public.get("/readyz", responses=_documented(503))
async def readyz(request: Request) -> ProbeResponse:
    """Whether the audit can be read: where it cannot, send no requests."""
    async with _pool(request).reading() as conn:
        await call_async(conn, _schema(request), "list_step_audits", p_limit=1)
    return ProbeResponse(status="ok")


@_public.get("/health", responses=_documented(503))
async def health(request: Request) -> HealthResponse:
    """Whether the database is reached and results are being audited."""
    async with _pool(request).reading() as conn:
        (found,) = await call_async(conn, _schema(request), "get_step_audit_health")
    state = found["trigger_state"]
    if state != "enabled" or not found["attached"]:
        problem = f"the trigger is {state}" if state != "enabled" else found["problems"][0]
        raise HTTPException(503, f"the audit is not attached as installed: {problem}")
    return HealthResponse(
        status="ok", release=found["release"], attached=found["attached"], trigger_state=state
    )


@_audit.get(
    "/tasks/{task_uuid}/workflow_steps/{step_uuid}/audit",
    response_model=list[StepAuditResponse],
    responses=_documented(400, 401, 404, 503),
)
async def step_history(request: Request, task_uuid: UUID, step_uuid: UUID) -> Response:
    """All audited results of one step of a task, newest first."""
    schema = _schema(request)

    exists = partial(_exists, schema=schema, task_uuid=task_uuid, step_uuid=step_uuid)
    history = partial(get_audit_history.stream, step_uuid=step_uuid, schema=schema)
    return await reply_with_array(_pool(request), history, to_json, exists)


@_audit.get(
    "/tasks/{task_uuid}/audit",
    response_model=list[StepAuditResponse],
    responses=_documented(400, 401, 404, 503),
)
async def task_history(request: Request, task_uuid: UUID) -> Response:
    """All audited results of a task's steps, newest first."""
    schema = _schema(request)

    exists = partial(_exists, schema=schema, task_uuid=task_uuid)
    history = partial(get_task_audit_history.stream, task_uuid=task_uuid, schema=schema)
    return await reply_with_array(_pool(request), history, to_json, exists)


@_audit.get(
    "/tasks/{task_uuid}/workflow_steps/{step_uuid}/actions",
    response_model=list[OperatorActionResponse],
    responses=_documented(400, 401, 404, 503),
)
async def step_actions(
    request: Request, task_uuid: UUID, step_uuid: UUID
) -> list[OperatorActionResponse]:
    """What operators did to one step of a task, newest first."""
    schema = _schema(request)
    async with _pool(request).reading() as conn:
        if not await _exists(conn, schema, task_uuid, step_uuid):
            raise HTTPException(404)
        found = await get_operator_actions_async(
            conn, step_uuid=step_uuid, task_uuid=task_uuid, schema=schema
        )
    return [OperatorActionResponse.of(action) for action in found]


@_audit.get(
    "/tasks/{task_uuid}/actions",
    response_model=list[OperatorActionResponse],
    responses=_documented(400, 401, 404, 503),
)
async def task_actions(request: Request, task_uuid: UUID) -> list[OperatorActionResponse]:
    """What operators did to a task's steps, newest first."""
    schema = _schema(request)
    async with _pool(request).reading() as conn:
        if not await _exists(conn, schema, task_uuid):
            raise HTTPException(404)
        found = await get_operator_actions_async(conn, task_uuid=task_uuid, schema=schema)
    return [OperatorActionResponse.of(action) for action in found]


@_audit.get(
    "/tasks/{task_uuid}/workflow_steps/{step_uuid}/changes",
    response_model=list[StepAuditChangeResponse],
    responses=_documented(400, 401, 404, 503),
)
async def step_changes(request: Request, task_uuid: UUID, step_uuid: UUID) -> Response:
    """Each version of one step's results that stands no more, the newest change first."""
    schema = _schema(request)
    exists = partial(_exists, schema=schema, task_uuid=task_uuid, step_uuid=step_uuid)
    changes = partial(get_step_changes.stream, step_uuid=step_uuid, schema=schema)
    return await reply_with_array(_pool(request), changes, change_to_json, exists)


@_audit.get(
    "/tasks/{task_uuid}/changes",
    response_model=list[StepAuditChangeResponse],
    responses=_documented(400, 401, 404, 503),
)
async def task_changes(request: Request, task_uuid: UUID) -> Response:
    """Each version of a task's results that stands no more, the newest change first."""
    schema = _schema(request)
    exists = partial(_exists, schema=schema, task_uuid=task_uuid)
    changes = partial(get_task_changes.stream, task_uuid=task_uuid, schema=schema)
    return await reply_with_array(_pool(request), changes, change_to_json, exists)


async def _exists(
    conn: Conn, schema: str | None, task_uuid: UUID, step_uuid: UUID | None = None
) -> bool:
    """Whether anything is known of a task, or of a step of it; the engine may have deleted it."""
    subject = {"p_task_uuid": task_uuid, "p_step_uuid": step_uuid}
    (found,) = await call_async(conn, schema, "is_step_audit_subject", **subject)
    known: bool = found["is_step_audit_subject"]
    return known


def _written_as(value: object, pattern: str, kind: str) -> object:
    """Refuse what Pydantic would read, but the document does not promise: ``0`` for a time."""
    if isinstance(value, str) and not re.fullmatch(pattern, value, re.IGNORECASE):
        raise ValueError(f"this is no {kind}")
    return value


def _utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except OverflowError:
        # Before year 1 or after year 9999 in UTC: no record is there, so the end of time will do.
        return (datetime.min if time.year == 1 else datetime.max).replace(tzinfo=UTC)


_Time = Annotated[
    datetime,
    BeforeValidator(partial(_written_as, pattern=r"\d{4}-\d\d-\d\d.*", kind="date and time")),
    AfterValidator(_utc),
]
_Truth = Annotated[
    bool, BeforeValidator(partial(_written_as, pattern="true|false", kind="true or false"))
]
# No text of the database has a NUL in it.
_Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
_Cursor = Annotated[AuditCursor, BeforeValidator(decode_cursor), WithJsonSchema({"type": "string"})]


class _Filters(BaseModel):
    model_config = ConfigDict(extra="forbid")

    step_uuid: UUID | None = None
    task_uuid: UUID | None = None
    worker_uuid: UUID | None = None
    correlation_id: UUID | None = None
    step_name: _Text | None = None
    success: _Truth | None = None
    changed: _Truth | None = Field(None, description="Another version of it stood before.")
    deleted: _Truth | None = Field(None, description="No version of it stands any more.")
    manual: _Truth | None = Field(
        None, description="An operator completed or resolved its step by hand."
    )
    recorded_from: _Time | None = Field(None, description="Then or later; without a zone UTC.")
    recorded_until: _Time | None = Field(None, description="Before then; without a zone UTC.")
    min_execution_time_ms: int | None = Field(None, ge=0, le=_MAX_BIGINT)
    max_execution_time_ms: int | None = Field(None, ge=0, le=_MAX_BIGINT)
    limit: int = Field(100, ge=1, le=1000, description="How many on a page.")
    cursor: _Cursor | None = Field(None, description="next_cursor of the page before.")


@_audit.get("/audit", response_model=AuditPageResponse, responses=_documented(400, 401, 503))
async def audit_page(request: Request, filters: Annotated[_Filters, Query()]) -> Response:
    """One page of the audited results that all given filters let through, newest first."""
    async with _pool(request).reading() as conn:
        page = await list_audits(conn, schema=_schema(request), **dict(filters))
    following = f'"{encode_cursor(page.next_cursor)}"' if page.next_cursor else "null"
    items = b",\n".join(map(to_json, page.items))
    return _json(b'{"items":[%b],"next_cursor":%b}' % (items, following.encode()))


class _ChangeFilters(BaseModel):
    model_config = ConfigDict(extra="forbid")

    task_uuid: UUID | None = None
    step_uuid: UUID | None = None
    transition_uuid: UUID | None = None
    operation: Operation | None = None
    recorded_by: _Text | None = Field(None, description="The role that did it.")
    recorded_from: _Time | None = Field(None, description="Then or later; without a zone UTC.")
    recorded_until: _Time | None = Field(None, description="Before then; without a zone UTC.")
    limit: int = Field(100, ge=1, le=1000, description="How many on a page.")
    cursor: UUID | None = Field(None, description="next_cursor of the page before.")


@_audit.get("/changes", response_model=ChangePageResponse, responses=_documented(400, 401, 503))
async def change_page(request: Request, filters: Annotated[_ChangeFilters, Query()]) -> Response:
    """One page of the versions that stand no more, the newest change first."""
    async with _pool(request).reading() as conn:
        page = await list_changes(conn, schema=_schema(request), **dict(filters))
    following = f'"{page.next_cursor}"' if page.next_cursor else "null"
    items = b",\n".join(map(change_to_json, page.items))
    return _json(b'{"items":[%b],"next_cursor":%b}' % (items, following.encode()))


@_audit.get(
    "/audit/{audit_uuid}",
    response_model=StepAuditResponse,
    responses=_documented(400, 401, 404, 503),
)
async def one_audit(request: Request, audit_uuid: UUID) -> Response:
    """One audited result by its key."""
    async with _pool(request).reading() as conn:
        audit = await find_by_uuid(conn, audit_uuid, _schema(request))
    if audit is None:
        raise HTTPException(404)
    return _json(to_json(audit))


@_public.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": _TEXT}}, **_documented(401)},
    dependencies=[Depends(_check_key)],
)
async def metrics(request: Request) -> Response:
    """Numbers for a monitoring system, in Prometheus' format; cheap enough for every 15 seconds."""
    found: Metrics = request.app.state.metrics
    try:
        async with _pool(request).reading() as conn:
            rows = await call_async(conn, _schema(request), "get_step_audit_metrics")
    except (psycopg.Error, StepAuditError) as error:
        request.scope.get(TOLD, {})["error"] = reason_of(error) or ""
        rows = None
    body, content_type = found.render(rows, request.headers.get("accept", ""))
    return Response(body, headers={"Content-Type": content_type})


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


def _pool(request: Request) -> Pool:
    pool: Pool | None = getattr(request.app.state, "pool", None)
    if pool is None:
        raise RuntimeError(
            "step-audit's application was not started: where it is mounted, enter its "
            "router.lifespan_context in the lifespan of the application around it"
        )
    return pool


def _schema(request: Request) -> str | None:
    schema: str | None = request.app.state.schema
    return schema
