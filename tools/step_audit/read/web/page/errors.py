"""Errors as pages where a browser asks for one; all others get them as JSON."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request
from fastapi.responses import Response

from step_audit.read.web.page.rendering import PACKAGE, render

_Handler = Callable[[Request, Exception], Awaitable[Response]]

_TITLES = {
    400: "This request makes no sense",
    403: "Refused",
    404: "Not found",
    503: "No answer from the database",
}
_ADVICE = {
    404: "Nothing of this kind is recorded here. What was purged is not known any more.",
    503: "The database is away, or takes too long. Nothing is lost by that.",
}


def show_errors(app: FastAPI) -> None:
    """Let the error handlers of ``app`` answer by pages what a browser asks of the page."""
    handlers: dict[object, _Handler] = dict(app.exception_handlers)
    for kind, handler in handlers.items():
        app.exception_handlers[kind] = _as_page(handler)


def _as_page(handler: _Handler) -> _Handler:
    async def answer(request: Request, error: Exception) -> Response:
        reply = await handler(request, error)
        if not _wants_page(request):
            return reply
        message = json.loads(bytes(reply.body))["error"]["message"]
        return show_error(request, reply.status_code, message)

    return answer


def show_error(request: Request, status: int, message: str) -> Response:
    """A page for an error; the form to sign in, where that is missing."""
    if status == 401:  # noqa: PLR2004
        return show_sign_in(request)
    context = {
        "title": _TITLES.get(status, "This did not work"),
        "message": message,
        "advice": _ADVICE.get(status, ""),
    }
    return render(request, "error.html", context, status)


def show_sign_in(request: Request, wrong: bool = False, goal: str | None = None) -> Response:
    """The form to sign in, and to come back to ``goal``, a path; by default the one asked for."""
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    context = {
        "goal": here if goal is None else goal,
        "wrong": wrong,
        # A browser that follows a link from elsewhere keeps the cookie back, and does not when the
        # page itself asks again.
        "again": request.method == "GET" and request.headers.get("sec-fetch-site") == "cross-site",
    }
    return render(request, "sign_in.html", context, 401)


def _wants_page(request: Request) -> bool:
    if "text/html" not in request.headers.get("accept", ""):
        return False
    endpoint = request.scope.get("endpoint")
    if endpoint is None:
        return not request.url.path.startswith(f"{request.scope.get('root_path', '')}/v1/")
    return str(getattr(endpoint, "__module__", "")).startswith(PACKAGE)
