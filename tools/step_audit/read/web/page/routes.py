"""The paths of the page."""

from __future__ import annotations

import io
from dataclasses import fields
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from step_audit.cli.render import HistoryFormat, write_audits
from step_audit.database import call_async
from step_audit.read.audit import StepAuditWithResults, list_audits
from step_audit.read.web.cursors import encode_cursor
from step_audit.read.web.keys import Keys
from step_audit.read.web.page.errors import show_sign_in
from step_audit.read.web.page.filters import read_filters
from step_audit.read.web.page.numbers import read_numbers
from step_audit.read.web.page.rates import read_rates
from step_audit.read.web.page.rendering import HEADERS, ICON, STYLE, render, root_of, send_text
from step_audit.read.web.page.sessions import (
    check_session,
    end_session,
    read_form,
    start_session,
)
from step_audit.read.web.page.timeline import (
    SHOWN_CHARACTERS,
    Place,
    read_changed_payload,
    read_payload,
    read_timeline,
)
from step_audit.read.web.pool import Pool

# On the first page, of the newest.
_NEWEST = 10

_RANGE = ("recorded_from", "recorded_until")

_KEPT = {"Cache-Control": "max-age=300", "X-Content-Type-Options": "nosniff"}


def add_page(app: FastAPI, filters: type[BaseModel]) -> None:
    """Let ``app`` serve the page; ``filters`` is what its list can be filtered by."""
    app.state.filters = filters
    app.include_router(_open)
    app.include_router(_page)


_open = APIRouter(include_in_schema=False)
_page = APIRouter(include_in_schema=False, dependencies=[Depends(check_session)])


@_open.get("/style.css")
async def style() -> Response:
    """How the page looks."""
    return Response(STYLE, media_type="text/css", headers=_KEPT)


@_open.get("/icon.svg")
async def icon() -> Response:
    """What stands beside the title."""
    return Response(ICON, media_type="image/svg+xml", headers=_KEPT)


@_open.post("/sign-in")
async def sign_in(request: Request) -> Response:
    """Take a key for a cookie, and go on to where it was asked for."""
    form = await read_form(request)
    keys: Keys = request.app.state.keys
    key = form.get("key", "").strip()
    goal = _own_path(request, form.get("goal", ""))
    if keys and not keys.accept(key):
        return show_sign_in(request, wrong=True, goal=goal)
    reply = RedirectResponse(goal, 303)
    if keys:
        start_session(request, reply, key)
    return reply


@_open.post("/sign-out")
async def sign_out(request: Request) -> Response:
    """Take the cookie away."""
    await read_form(request)
    reply = RedirectResponse(f"{root_of(request)}/", 303)
    end_session(request, reply)
    return reply


@_page.get("/")
async def state(request: Request) -> Response:
    """Whether results are audited and sealed, and the newest of them."""
    async with _pool(request).reading() as conn:
        (health,) = await call_async(conn, _schema(request), "get_step_audit_health")
        metrics = await call_async(conn, _schema(request), "get_step_audit_metrics")
        newest = await list_audits(conn, limit=_NEWEST, schema=_schema(request))
    context = {"health": health, "numbers": read_numbers(metrics), "audits": newest.items}
    return render(request, "state.html", context)


@_page.get("/results")
async def results(request: Request) -> Response:
    """A page of the results that all given filters let through, newest first."""
    asked = read_filters(request.app.state.filters, request.query_params)
    if request.url.query and asked.link().removeprefix("?") != request.url.query:
        # What a form sends with its empty fields, as a link to keep and to share.
        return RedirectResponse(f"{root_of(request)}/results{asked.link()}", 303)
    context = {"asked": asked, "audits": [], "following": None}
    if asked.errors:
        return render(request, "results.html", context, 400)
    async with _pool(request).reading() as conn:
        page = await list_audits(conn, schema=_schema(request), **asked.values)
    following = encode_cursor(page.next_cursor) if page.next_cursor else None
    return render(request, "results.html", context | {"audits": page.items, "following": following})


@_page.get("/results.csv")
async def results_as_csv(request: Request) -> Response:
    """The same page of results for a spreadsheet, with their payloads."""
    asked = read_filters(request.app.state.filters, request.query_params)
    if asked.errors:
        raise HTTPException(400, asked.error)
    async with _pool(request).reading() as conn:
        page = await list_audits(conn, schema=_schema(request), **asked.values)
    columns = fields(StepAuditWithResults)
    rows = (
        {each.name.removesuffix("_json"): getattr(audit, each.name) for each in columns}
        for audit in page.items
    )
    out = io.StringIO(newline="")
    write_audits(rows, HistoryFormat.CSV, out)
    named = {"Content-Disposition": 'attachment; filename="step-audit-results.csv"'}
    return Response(out.getvalue(), media_type="text/csv", headers=HEADERS | named)


@_page.get("/tasks/{task_uuid}")
async def task(
    request: Request,
    task_uuid: UUID,
    after: Annotated[str | None, Query()] = None,
    unfolded: bool = False,
) -> Response:
    """What happened to a task, oldest first."""
    try:
        place = None if after is None else Place.parse(after)
    except ValueError as error:
        raise HTTPException(400, "after: this is no place in a timeline") from error
    async with _pool(request).reading() as conn:
        timeline = await read_timeline(conn, _schema(request), task_uuid, place)
        subject = {"p_task_uuid": task_uuid}
        (known,) = await call_async(conn, _schema(request), "is_step_audit_subject", **subject)
    if not (timeline.entries or known["is_step_audit_subject"]):
        raise HTTPException(404, f"there is no task {task_uuid}")
    context = {
        "task_uuid": task_uuid,
        "timeline": timeline,
        "after": after,
        "unfolded": unfolded,
        "shown_characters": SHOWN_CHARACTERS,
    }
    return render(request, "task.html", context)


@_page.get("/workers/{worker_uuid}")
async def worker(request: Request, worker_uuid: UUID) -> Response:
    """How many results of a worker failed over time, and how long they took."""
    return await _rates(request, "Worker", {"worker_uuid": str(worker_uuid)}, worker_uuid)


@_page.get("/step-names/{step_name:path}")
async def step_name(request: Request, step_name: str) -> Response:
    """How many results of steps of a name failed over time, and how long they took."""
    if "\0" in step_name:
        raise HTTPException(400, "a step name holds no NUL")
    return await _rates(request, "Step name", {"step_name": step_name}, step_name=step_name)


async def _rates(
    request: Request,
    kind: str,
    filters: dict[str, str],
    worker_uuid: UUID | None = None,
    step_name: str | None = None,
) -> Response:
    (name,) = filters.values()
    asked = read_filters(request.app.state.filters, request.query_params)
    context: dict[str, Any] = {
        "kind": kind,
        "name": name,
        "filter": filters,
        "action": request.url.path,
        "given": {each: asked.texts.get(each, "") for each in _RANGE},
        "error": asked.error,
        "rates": None,
    }
    if asked.errors:
        return render(request, "rates.html", context, 400)
    async with _pool(request).reading() as conn:
        context["rates"] = await read_rates(
            conn,
            _schema(request),
            since=asked.values["recorded_from"],
            until=asked.values["recorded_until"],
            worker_uuid=worker_uuid,
            step_name=step_name,
        )
    return render(request, "rates.html", context)


@_page.get("/tasks/{task_uuid}/transitions/{transition_uuid}/payload")
async def payload(request: Request, task_uuid: UUID, transition_uuid: UUID) -> Response:
    """The whole of what a transition carries, digit by digit."""
    async with _pool(request).reading() as conn:
        found = await read_payload(conn, _schema(request), task_uuid, transition_uuid)
    return _whole(found)


@_page.get("/tasks/{task_uuid}/changes/{change_uuid}/payload")
async def changed_payload(request: Request, task_uuid: UUID, change_uuid: UUID) -> Response:
    """The whole of what a version carried that stands no more."""
    async with _pool(request).reading() as conn:
        found = await read_changed_payload(conn, _schema(request), task_uuid, change_uuid)
    return _whole(found)


def _whole(found: str | None) -> Response:
    if found is None:
        raise HTTPException(404, "there is no such payload")
    return send_text(found)


def _own_path(request: Request, path: str) -> str:
    """The path, if it leads to a page of ours; else the first."""
    root = root_of(request)
    # What begins with two slashes, or a backslash, leads to another host.
    is_own = path.startswith(f"{root}/") and path[1:2] not in {"/", "\\"} and path.isprintable()
    return path if is_own else f"{root}/"


def _pool(request: Request) -> Pool:
    pool: Pool = request.app.state.pool
    return pool


def _schema(request: Request) -> str | None:
    schema: str | None = request.app.state.schema
    return schema
