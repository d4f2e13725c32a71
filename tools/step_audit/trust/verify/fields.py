"""Whether the fields of an audit row are what its transition, and its step, say.

Most rows are as a fast parser expects them. Whatever is not goes to the exact reader before it is a
finding, as parsers differ on odd JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from step_audit.trust import reading

Anomalies = dict[str, tuple[str | None, str]]
"""By field: the raw value and the reason."""

OK, FAILED = reading.OK.encode(), reading.FAILED.encode()
RESULT_STATES = frozenset({OK, FAILED})


class Difference(NamedTuple):
    """A field that is not as it should be, as text."""

    field: str
    stored: str | None
    expected: str | None


class Stored(NamedTuple):
    """The fields of an audit row, as COPY prints them."""

    task_uuid: bytes | None
    recorded_at: bytes | None
    worker_uuid: bytes | None
    correlation_id: bytes | None
    success: bytes | None
    backfilled: bytes | None
    execution_time_ms: bytes | None
    created_at: bytes | None
    updated_at: bytes | None


class UnreadError(Exception):
    """The metadata is nested too deep, or too large, to be read anew here."""


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _standard_parser() -> Callable[[bytes | str], Any]:
    decode = json.JSONDecoder(parse_constant=_refuse).decode

    def parse(data: bytes | str) -> Any:
        return decode(data.decode() if isinstance(data, bytes) else data)

    return parse


def _find_parser() -> Callable[[bytes | str], Any]:
    try:
        import orjson  # noqa: PLC0415 (an optional extra)
    except ImportError:
        return _standard_parser()
    parser: Callable[[bytes | str], Any] = orjson.loads
    return parser


parse = _find_parser()


def is_plain(stored: Stored, to_state: bytes, metadata: bytes | None) -> bool:
    """Whether a fast look finds the four fields that are read from metadata as they are stored."""
    _, _, worker, correlation, success, _, time, _, _ = stored
    if metadata is None:
        expected = b"t" if to_state == OK else b"f"
        return success == expected and worker is None and correlation is None and time is None
    try:
        document = parse(metadata)
        event = document["event"]
        if type(event) is str:
            event = parse(event)
        if type(data := event.get("data")) is dict:
            event = data
        read_worker, read_correlation = document.get("worker_uuid"), document.get("correlation_id")
        read_success = event["success"]
        times = event.get("metadata")
        read_time = times.get("execution_time_ms") if type(times) is dict else None
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        return False
    return (
        (success == b"t" if read_success is True else read_success is False and success == b"f")
        and (
            worker is None
            if read_worker is None
            else type(read_worker) is str and worker is not None and read_worker == worker.decode()
        )
        and (
            correlation is None
            if read_correlation is None
            else type(read_correlation) is str
            and correlation is not None
            and read_correlation == correlation.decode()
        )
        and (
            time is None
            if read_time is None
            else type(read_time) is int and time is not None and str(read_time) == time.decode()
        )
    )


def compare_metadata(
    stored: Stored, to_state: bytes, metadata: bytes | None, anomalies: Anomalies
) -> list[Difference]:
    """Differences of what is read from metadata, by the exact reader.

    Raises:
        UnreadError: it is beyond this reader.
    """
    text = None if metadata is None else metadata.decode()
    try:
        read = reading.read(to_state.decode(), text)
        raw = reading.read_raw_values(text) if anomalies or read.anomalies else {}
    except RecursionError as error:
        raise UnreadError from error
    except ValueError:
        # No JSON to this reader: what the server could not read either is an anomaly of the event.
        read, raw = reading.Reading(success=to_state == OK, anomalies={"event": "not JSON"}), {}
    expected = [
        (
            "worker_uuid",
            stored.worker_uuid,
            None if read.worker_uuid is None else str(read.worker_uuid),
        ),
        (
            "correlation_id",
            stored.correlation_id,
            None if read.correlation_id is None else str(read.correlation_id),
        ),
        ("success", _as_word(stored.success), "true" if read.success else "false"),
        (
            "execution_time_ms",
            stored.execution_time_ms,
            None if read.execution_time_ms is None else str(read.execution_time_ms),
        ),
    ]
    found = [
        Difference(name, _text(value), wanted)
        for name, value, wanted in expected
        if _text(value) != wanted
    ]
    wanted_anomalies = {
        name: (raw[name] if name in raw else anomalies.get(name, (None, ""))[0], reason)
        for name, reason in read.anomalies.items()
    }
    if wanted_anomalies != anomalies:
        found.append(Difference("anomalies", _show(anomalies), _show(wanted_anomalies)))
    return found


def compare_rest(
    stored: Stored, task_uuid: bytes | None, transition_time: bytes | None
) -> list[Difference]:
    """Differences of what is not read from metadata: task and times."""
    found = []
    if stored.task_uuid != task_uuid:
        found.append(Difference("task_uuid", _text(stored.task_uuid), _text(task_uuid)))
    recorded_at = stored.created_at
    if stored.backfilled == b"t" and is_of_calendar(transition_time):
        recorded_at = transition_time
    if stored.recorded_at != recorded_at:
        found.append(Difference("recorded_at", _text(stored.recorded_at), _text(recorded_at)))
    if stored.updated_at != stored.created_at:
        found.append(Difference("updated_at", _text(stored.updated_at), _text(stored.created_at)))
    return found


def is_of_calendar(time: bytes | None) -> bool:
    """Whether a time is of a year from 1 to 9999."""
    return time is not None and time[4:5] == b"-" and not time.endswith(b"BC")


def _as_word(value: bytes | None) -> bytes | None:
    return {b"t": b"true", b"f": b"false"}.get(value or b"", value)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def _show(anomalies: Anomalies) -> str | None:
    if not anomalies:
        return None
    members = {name: [raw, reason] for name, (raw, reason) in sorted(anomalies.items())}
    return json.dumps(members, ensure_ascii=False)
