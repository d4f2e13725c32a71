"""One line for each request, with its id, which the reply carries too."""

from __future__ import annotations

import logging
import re
import time
import uuid
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from step_audit.read.web.errors import TOLD, reason_of

_log = logging.getLogger("step_audit.access")

_HEADER = "x-request-id"
_SERVER_ERROR = 500

# Of the caller's own ids those that fit into a header and a line.
_ID = re.compile(r"[\w.:/+=-]{1,128}", re.ASCII)

# Characters of a path or a query that a line has.
_LONGEST = 500


class AccessLog:
    """Wraps an application; around all of it, so that its failures have their line too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request and log it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _Request(scope)
        try:
            await self._app(scope, receive, request.sending(send))
        except Exception as error:
            request.failed(error)
            raise
        finally:
            request.log()


class _Request:
    """What is known of one request."""

    def __init__(self, scope: Scope) -> None:
        asked = Headers(scope=scope).get(_HEADER, "")
        self._id = asked if _ID.fullmatch(asked) else str(uuid.uuid4())
        self._scope = scope
        self._told: dict[str, str] = scope.setdefault(TOLD, {})
        self._start = time.perf_counter()
        self._status: int | None = None
        self._bytes = 0
        self._ended = False
        self._unexpected: Exception | None = None

    def sending(self, send: Send) -> Send:
        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._status = message["status"]
                header = (_HEADER.encode(), self._id.encode())
                message = {**message, "headers": [*message.get("headers", ()), header]}
            elif message["type"] == "http.response.body":
                self._bytes += len(message.get("body", b""))
                self._ended = not message.get("more_body", False)
            await send(message)

        return noting

    def failed(self, error: Exception) -> None:
        reason = reason_of(error)
        if reason is None:
            self._unexpected = error
        else:
            self._told["error"] = reason

    def log(self) -> None:
        fields: dict[str, Any] = {
            "method": self._scope["method"],
            "path": self._scope["path"][:_LONGEST],
            "query": self._scope["query_string"].decode("latin-1")[:_LONGEST] or None,
            "status": self._status,
            "duration_ms": round((time.perf_counter() - self._start) * 1000, 1),
            "bytes": self._bytes,
            "client": (self._scope.get("client") or (None,))[0],
            "request_id": self._id,
            "cut": not self._ended or None,
            "error": self._told.get("error"),
        }
        failed = (self._status or 0) >= _SERVER_ERROR or self._unexpected or "error" in self._told
        # Else whoever asked has left, or the service was stopped.
        is_cut = not self._ended
        level = logging.ERROR if failed else logging.WARNING if is_cut else logging.INFO
        _log.log(level, "request", extra={"fields": fields}, exc_info=self._unexpected)
