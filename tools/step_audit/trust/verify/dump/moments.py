"""Times as COPY prints them, with any zone, moved to UTC: over all years that Postgres has."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_LOCAL = rb"(?P<year>\d{4}|[1-9]\d{4,5})-(?P<rest>\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{0,5}[1-9])?)"
_ERA = rb"(?P<era> BC)?"
_WITHOUT_ZONE = re.compile(_LOCAL + _ERA)
_MOMENT = re.compile(
    _LOCAL + rb"(?P<sign>[+-])(?P<hours>\d\d)(?::(?P<minutes>\d\d)(?::(?P<seconds>\d\d))?)?" + _ERA
)
_INFINITE = frozenset({b"infinity", b"-infinity"})
# Years after which the calendar repeats itself, days of the week and all.
_CYCLE = 400


def read_timestamp(text: bytes) -> bytes:
    """A timestamp without time zone, as it is.

    Raises:
        ValueError: it is none.
    """
    if text not in _INFINITE and not _WITHOUT_ZONE.fullmatch(text):
        raise ValueError(text)
    return text


class Moments:
    """Reads a column of times, all with a zone or all without, which then is UTC."""

    def __init__(self) -> None:
        self._has_zone: bool | None = None

    def __call__(self, text: bytes) -> bytes:
        """A time as a timestamp without time zone, UTC, prints it.

        Raises:
            ValueError: it is none, or others of the column have a zone and this one not.
        """
        if text in _INFINITE:
            return text
        moment = _MOMENT.fullmatch(text)
        if self._has_zone is None:
            self._has_zone = moment is not None
        if self._has_zone != (moment is not None):
            raise ValueError(text)
        return _in_utc(moment) if moment else read_timestamp(text)


def _in_utc(moment: re.Match[bytes]) -> bytes:
    minutes, seconds = moment["minutes"], moment["seconds"]
    offset = timedelta(
        hours=int(moment["hours"]), minutes=int(minutes or 0), seconds=int(seconds or 0)
    )
    # Postgres prints of a zone no more than it has, and a plus where there is none.
    if seconds == b"00" or (minutes == b"00" and seconds is None):
        raise ValueError(moment[0])
    if not offset:
        if moment["sign"] == b"-":
            raise ValueError(moment[0])
        return b"%b-%b%b" % (moment["year"], moment["rest"], moment["era"] or b"")
    # The year before 1 is 1 BC.
    year = 1 - int(moment["year"]) if moment["era"] else int(moment["year"])
    cycles = year // _CYCLE - 1
    local = datetime.fromisoformat(f"{year - cycles * _CYCLE:04}-{moment['rest'].decode()}")
    moved = local - offset if moment["sign"] == b"+" else local + offset
    year = moved.year + cycles * _CYCLE
    fraction = f".{moved.microsecond:06}".rstrip("0") if moved.microsecond else ""
    shown, era = (year, "") if year > 0 else (1 - year, " BC")
    return f"{shown:04}-{moved:%m-%d %H:%M:%S}{fraction}{era}".encode()
