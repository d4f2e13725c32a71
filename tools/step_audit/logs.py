"""The log of a command that runs on: a line for each thing on standard error, as text or JSON."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from step_audit.printing import printable, printable_json

# What stands unquoted in a line of text.
_PLAIN = re.compile(r'[^\s="]+')


class LogFormat(StrEnum):
    """How a log is written."""

    TEXT = "text"
    JSON = "json"


def log_to_stderr(form: LogFormat) -> None:
    """Write what is logged in this process to standard error, and nothing of it twice."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines(form))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("step_audit").setLevel(logging.INFO)
    # It warns at each attempt to connect; of an outage it is told once, by who has the pool.
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)


def line(form: LogFormat, time: datetime, level: str, fields: dict[str, Any]) -> str:
    """One line; what is None is left out."""
    shown = f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03}Z"
    known = {name: value for name, value in fields.items() if value is not None}
    if form is LogFormat.JSON:
        document = {"time": shown, "level": level, **known}
        return printable_json(json.dumps(document, ensure_ascii=False))
    message = str(known.pop("message", ""))
    pairs = [f"{name}={_quoted(value)}" for name, value in known.items()]
    return printable(" ".join([shown, level, *([message] if message else []), *pairs]))


def _quoted(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


class _Lines(logging.Formatter):
    """Formats records; those of ours bring their fields as ``extra={"fields": ...}``."""

    def __init__(self, form: LogFormat) -> None:
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        fields = {"message": record.getMessage(), **getattr(record, "fields", {})}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        time = datetime.fromtimestamp(record.created, UTC)
        return line(self._form, time, record.levelname.lower(), fields)
