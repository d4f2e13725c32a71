"""The range of time that a caller asks for."""

from __future__ import annotations

from datetime import UTC, datetime

from step_audit.errors import UsageError


def check_times(since: datetime | None, until: datetime | None) -> None:
    """Refuse a range of time that has no time in it.

    Raises:
        UsageError: it has none.
    """
    if since and until and since >= until:
        raise UsageError(
            f"no time lies from {since} on and before {until}; nothing was looked at. "
            "Give an earlier --since or a later --until."
        )


def as_copied(time: datetime | None) -> bytes | None:
    """A time as COPY prints it, without zone; one with a zone is moved to UTC."""
    if time is None:
        return None
    moment = time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
    text = moment.isoformat(sep=" ")
    return (text.rstrip("0") if moment.microsecond else text).encode()
