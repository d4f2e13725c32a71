"""What an audit row must say, read from the design's table in plain Python, not from the SQL.

The exact reading, whatever the metadata: ``verify`` holds a row against it where the row is not
what a fast look expects, and the tests hold the SQL against it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Any
from uuid import UUID

from step_audit.trust import jsonb
from step_audit.trust.jsonb import Number, loads

OK = "enqueued_for_orchestration"
FAILED = "enqueued_as_error_for_orchestration"
RESULT_STATES = frozenset({OK, FAILED})

_TRUE = {word[:n] for word in ("true", "yes") for n in range(1, len(word) + 1)} | {"on", "1"}
_FALSE = {word[:n] for word in ("false", "no") for n in range(1, len(word) + 1)} | {
    "of",
    "off",
    "0",
}
_SPACE = " \t\n\r\f\v"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_UUID = re.compile(r"(?P<open>\{)?[0-9a-fA-F]{4}(-?[0-9a-fA-F]{4}){7}(?(open)\})")
_MAX_BIGINT = 2**63 - 1
_RAW_LENGTH = 200


@dataclass
class Reading:
    """The fields of an audit row that come from ``metadata``, and the anomalies by field."""

    worker_uuid: UUID | None = None
    correlation_id: UUID | None = None
    success: bool = True
    execution_time_ms: int | None = None
    anomalies: dict[str, str] = field(default_factory=dict)


def read(to_state: str, metadata: str | None) -> Reading:
    """Read a transition's metadata, given as JSON text, None for SQL's NULL."""
    reading = Reading(success=to_state == OK)
    document = {} if metadata is None else loads(metadata)
    if not isinstance(document, dict):
        return reading
    reading.worker_uuid = _read_uuid("worker_uuid", document, reading)
    reading.correlation_id = _read_uuid("correlation_id", document, reading)
    result = _read_result(document.get("event"), reading)
    _read_success(result.get("success"), reading)
    times = result.get("metadata")
    if isinstance(times, dict):
        _read_time(times.get("execution_time_ms"), reading)
    return reading


def result_document(metadata: str | None, column: str = "jsonb") -> Any:
    """The full result that a transition's metadata holds; None where there is none.

    A ``column`` of type json keeps the numbers of an object as they are written.
    """
    document = None if metadata is None else loads(metadata)
    event = document.get("event") if isinstance(document, dict) else None
    try:
        result = _unwrap(_parse_event(event))
    except ValueError:
        return None
    return result if column == "json" or _is_text(event) else _as_jsonb(result)


def _parse_event(event: Any) -> Any:
    return loads(event) if _is_text(event) else event


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not isinstance(value, Number)


def _unwrap(event: Any) -> Any:
    data = event.get("data") if isinstance(event, dict) else None
    return data if isinstance(data, dict) else event


def _read_result(event: Any, reading: Reading) -> dict[str, Any]:
    try:
        result = _unwrap(_parse_event(event))
    except ValueError:
        reading.anomalies["event"] = "not JSON"
        return {}
    if result is not None and not isinstance(result, dict):
        reading.anomalies["event"] = "not an object"
    return result if isinstance(result, dict) else {}


def _read_success(value: Any, reading: Reading) -> None:
    if value is None:
        return
    text = _scalar_text(value).strip(_SPACE).lower()
    if text in _TRUE | _FALSE:
        reading.success = text in _TRUE
    else:
        reading.anomalies["success"] = "not a boolean"


def _read_time(value: Any, reading: Reading) -> None:
    if value is None:
        return
    text = _scalar_text(value).strip(_SPACE)
    if isinstance(value, bool) or not _NUMBER.fullmatch(text):
        reading.anomalies["execution_time_ms"] = "not a number"
        return
    try:
        number = Decimal(jsonb.print_number(text))
    except ValueError:
        reading.anomalies["execution_time_ms"] = "out of range"
        return
    with localcontext(prec=200_000):
        rounded = number.to_integral_value(ROUND_HALF_UP)
    if number < 0:
        reading.anomalies["execution_time_ms"] = "negative"
    elif rounded > _MAX_BIGINT:
        reading.anomalies["execution_time_ms"] = "out of range"
    else:
        reading.execution_time_ms = int(rounded)


def _read_uuid(name: str, document: dict[str, Any], reading: Reading) -> UUID | None:
    value = document.get(name)
    if value is None:
        return None
    if _is_text(value) and _UUID.fullmatch(value):
        return UUID(re.sub(r"[^0-9a-fA-F]", "", value))
    reading.anomalies[name] = "not a UUID"
    return None


def _scalar_text(value: Any) -> str:
    """The value's text as jsonb has it; of an array or object what reads as nothing."""
    if isinstance(value, bool):
        return str(value).lower()
    value = _as_jsonb(value) if isinstance(value, Number) else value
    return value if isinstance(value, str) else "{}"


def _as_jsonb(value: Any) -> Any:
    """The value as jsonb keeps it: numbers lose their exponent and the sign of zero."""
    if isinstance(value, Number):
        try:
            return Number(jsonb.print_number(value))
        except ValueError:
            return value
    if isinstance(value, dict):
        return {key: _as_jsonb(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_as_jsonb(member) for member in value]
    return value


def read_raw_values(metadata: str | None) -> dict[str, str | None]:
    """The raw value that the anomaly of a field keeps, by field.

    A field is left out where its raw value depends on which escapes of metadata, or of an event,
    the server could not decode.
    """
    document = {} if metadata is None else loads(metadata)
    try:
        # The text, as a member that comes again hides the one before.
        jsonb.check_text(metadata or "{}")
    except ValueError:
        return {}
    if not isinstance(document, dict):
        return {}
    whole = document.get("event")
    found = {
        name: _cut(document[name])
        for name in ("event", "worker_uuid", "correlation_id")
        if name in document
    }
    try:
        if _is_text(whole):
            jsonb.check_text(str(whole))
        result = _unwrap(_parse_event(whole))
    except (ValueError, RecursionError):
        return found
    if isinstance(result, dict):
        times = result.get("metadata")
        found["success"] = _cut(result.get("success"))
        if isinstance(times, dict):
            found["execution_time_ms"] = _cut(times.get("execution_time_ms"))
    return found


def _cut(value: Any) -> str | None:
    if isinstance(value, str) and _is_text(value):
        return value[:_RAW_LENGTH]
    return jsonb.print_start(value, _RAW_LENGTH)
