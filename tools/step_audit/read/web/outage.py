"""An outage of the database is logged once, and once at its end."""

from __future__ import annotations

import logging
import time

from step_audit.read.web.errors import reason_of

_log = logging.getLogger("step_audit")


class Outage:
    """Whether the database can be reached, as attempts to connect tell."""

    def __init__(self) -> None:
        self._since: float | None = None

    def goes_on(self, error: Exception) -> None:
        """An attempt failed."""
        if self._since is None:
            self._since = time.monotonic()
            _log.error("the database is away", extra={"fields": {"error": reason_of(error)}})

    def is_over(self) -> None:
        """An attempt succeeded."""
        if self._since is not None:
            seconds = round(time.monotonic() - self._since, 1)
            self._since = None
            _log.warning("the database is back", extra={"fields": {"away_seconds": seconds}})
