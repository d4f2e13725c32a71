"""Signing in: a key is shown once, and then a cookie that proves it and does not hold it."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from fastapi import Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from step_audit.read.web.keys import Keys
from step_audit.read.web.page.rendering import root_of

COOKIE = "step_audit_session"
SECONDS = 12 * 60 * 60

# A key and a path.
_MAX_FORM_BYTES = 16 * 1024


async def check_session(request: Request) -> None:
    """Let in who has signed in, and everybody where there are no keys.

    Raises:
        HTTPException: 401 for all others.
    """
    keys: Keys = request.app.state.keys
    if keys and not _is_valid(keys, request.cookies.get(COOKIE, "")):
        raise HTTPException(401, "sign in to read the audit")


def start_session(request: Request, reply: Response, key: str) -> None:
    """Give the cookie that stands for ``key``, which is one of the accepted, for some hours."""
    keys: Keys = request.app.state.keys
    expires = str(int(time.time()) + SECONDS)
    value = f"{expires}.{keys.sign(key, expires)}"
    reply.set_cookie(COOKIE, value, max_age=SECONDS, **_attributes(request))


def end_session(request: Request, reply: Response) -> None:
    """Take the cookie away."""
    reply.delete_cookie(COOKIE, **_attributes(request))


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form that was sent from a page of ours.

    Raises:
        HTTPException: 403 for a form of another site, 413 for one that is too large.
    """
    if not _is_own(request):
        raise HTTPException(403, "this form was not sent from this page")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_FORM_BYTES:
            raise HTTPException(413, "this form is too large")
    return dict(parse_qsl(body.decode(errors="replace")))


def _is_own(request: Request) -> bool:
    # Browsers send the first to whom they trust, and the second to all others. What comes from
    # neither is no browser's, and a browser is what another site would need.
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


def _is_valid(keys: Keys, cookie: str) -> bool:
    expires, _, signature = cookie.partition(".")
    return keys.is_signed(expires, signature) and time.time() < int(expires)


def _attributes(request: Request) -> dict[str, Any]:
    return {
        "path": root_of(request) or "/",
        "httponly": True,
        "samesite": "strict",
        "secure": request.url.scheme == "https",
    }
