"""What a column of a dump may hold, and how it is read: anything else is told at once.

A value has one text, as Postgres prints it, so that none can be written in another way.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from step_audit.trust.verify.dump.moments import Moments, read_timestamp
from step_audit.trust.verify.tables import HOST, OPTIONAL, OWN

Read = Callable[[bytes], Any]

_UUID = rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_XID = rb"[1-9]\d{0,18}"
_WHOLE = re.compile(rb"0|-?[1-9]\d{0,18}")
_HEX = re.compile(rb"\\x(?:[0-9a-f]{2})*")
# As bytea_output = escape prints it, which pg_dump leaves as it is set.
_ESCAPES = re.compile(rb"(?:[\x20-\x5b\x5d-\x7e]|\\(?:\\|0[0-3][0-7]|177|[23][0-7]{2}))*")
_ESCAPE = re.compile(rb"\\(\\|\d{3})")
_OPTIONAL_OF_HOST = frozenset({"from_state", "metadata", "created_at"})


def reader(table: str, column: str) -> Callable[[bytes | None], Any]:
    """What reads a column of a table: bytes as COPY prints them, numbers as such, None for NULL.

    It raises ValueError where the column cannot hold the value. A reader is for one block of rows.
    """
    own = OWN.get(table)
    types = {own[column]} if own else HOST[table][column]
    optional = OPTIONAL.get(table, frozenset[str]()) if own else _OPTIONAL_OF_HOST
    may_be_null = column in optional
    read = next((_READERS[oid]() for oid in (1184, *_READERS) if oid in types), None)

    def read_value(value: bytes | None) -> Any:
        if value is None:
            if not may_be_null:
                raise ValueError(value)
            return None
        return read(value) if read else value

    return read_value


def _matching(pattern: bytes) -> Callable[[], Read]:
    fits = re.compile(pattern).fullmatch

    def read(value: bytes) -> bytes:
        if not fits(value):
            raise ValueError(value)
        return value

    return lambda: read


def _read_whole(value: bytes) -> int:
    number = int(value) if _WHOLE.fullmatch(value) else 2**63
    if not -(2**63) <= number < 2**63:
        raise ValueError(value)
    return number


def _read_bytes(value: bytes) -> bytes:
    r"""Bytes as ``\x…``."""
    if _HEX.fullmatch(value):
        return value
    if not _ESCAPES.fullmatch(value):
        raise ValueError(value)
    raw = _ESCAPE.sub(
        lambda found: b"\\" if found[1] == b"\\" else bytes([int(found[1], 8)]), value
    )
    return b"\\x" + raw.hex().encode()


# By the OIDs of the types.
_READERS: dict[int, Callable[[], Read]] = {
    16: _matching(rb"[tf]"),
    17: lambda: _read_bytes,
    20: lambda: _read_whole,
    23: lambda: _read_whole,
    1114: lambda: read_timestamp,
    1184: Moments,
    2950: _matching(_UUID),
    # Any array: a seal says whether it is the list that it should be.
    2951: _matching(rb"[\x20-\x7e]+"),
    5038: _matching(rb"%b:%b:(%b(,%b)*)?" % (_XID, _XID, _XID, _XID)),
}
