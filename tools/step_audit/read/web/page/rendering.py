"""Templates to replies: every text escaped, and headers that let a browser run nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from importlib import resources
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from step_audit.read.web.page.payloads import indent

PACKAGE = "step_audit.read.web.page"

_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)

# Not no-referrer: with that a browser keeps the origin of a form from us.
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

STYLE, ICON = (resources.files(PACKAGE).joinpath(n).read_bytes() for n in ("style.css", "icon.svg"))

_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def render(
    request: Request,
    template: str,
    context: Mapping[str, object],
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> HTMLResponse:
    """A reply of a template; ``context`` may be any text, as all of it is escaped."""
    body = _templates.get_template(template).render(
        root=root_of(request),
        has_keys=bool(request.app.state.keys),
        now=datetime.now(UTC),
        **context,
    )
    return HTMLResponse(body, status, {**HEADERS, **(headers or {})})


def send_text(text: str) -> Response:
    """A reply of text that a browser shows and does not take for anything else."""
    return Response(text, media_type="text/plain; charset=utf-8", headers=HEADERS)


def root_of(request: Request) -> str:
    """Where the application stands: empty, or the path that it is mounted at."""
    root: str = request.scope.get("root_path", "")
    return root.rstrip("/")


def show_time(time: datetime | None) -> str:
    """A time in UTC to the millisecond: ``2026-11-22 21:10:10.667``."""
    return time.isoformat(" ", "milliseconds").removesuffix("+00:00") if time else ""


def show_span(span: timedelta | float | None) -> str:
    """A span in its largest unit: ``3 min``."""
    if span is None:
        return ""
    seconds = span.total_seconds() if isinstance(span, timedelta) else span
    for unit, size in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size):,} {unit}"
    return "0 s"


def _segment(text: object) -> str:
    """A text as one part of a path, whatever it holds."""
    return quote(str(text), safe="", errors="replace")


_templates = Environment(
    loader=PackageLoader(PACKAGE),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters |= {
    "indent_json": indent,
    "time": show_time,
    "span": show_span,
    "segment": _segment,
}
