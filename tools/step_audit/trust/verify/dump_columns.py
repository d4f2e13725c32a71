"""What a column of a dump may hold: anything else is told before it is looked at."""

from __future__ import annotations

import re
from collections.abc import Callable

from step_audit.trust.verify.tables import HOST, OWN

_UUID = rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_TIME = rb"-?infinity|\d{4,6}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?([+-]\d\d(:\d\d)?)?( BC)?"
# By the OIDs of the types.
_PATTERNS = {
    16: rb"[tf]",
    17: rb"\\x([0-9a-f]{2})*",
    20: rb"-?\d{1,19}",
    23: rb"-?\d{1,10}",
    1114: _TIME,
    1184: _TIME,
    2950: _UUID,
    2951: rb"\{(%b(,%b)*)?\}" % (_UUID, _UUID),
    5038: rb"\d{1,19}:\d{1,19}:(\d{1,19}(,\d{1,19})*)?",
}
_MAY_BE_NULL = frozenset(
    {
        "worker_uuid",
        "correlation_id",
        "recorded_by",
        "execution_time_ms",
        "raw_value",
        "covered",
        "place",
        "waiting",
        "from_state",
        "metadata",
    }
)
_LARGEST = 2**63 - 1


def checker(table: str, column: str) -> Callable[[bytes | None], bool]:
    """What tells whether a column of a table can hold a value, as COPY prints it."""
    own = OWN.get(table)
    types = {own[column]} if own else HOST[table][column]
    pattern = next((_PATTERNS[oid] for oid in types if oid in _PATTERNS), None)
    may_be_null = column in _MAY_BE_NULL or (not own and column == "created_at")
    fits = re.compile(pattern).fullmatch if pattern else None
    is_whole = bool(types & {20, 23})

    def check(value: bytes | None) -> bool:
        if value is None:
            return may_be_null
        if fits and not fits(value):
            return False
        return not is_whole or -_LARGEST <= int(value) <= _LARGEST

    return check
