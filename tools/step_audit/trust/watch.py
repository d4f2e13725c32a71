"""Watch a database: seal, verify what is new, sign a checkpoint; tell what is out of order.

What it knows of earlier times is in the folder of checkpoints alone. Each round has a connection of
its own, so that none is lost by a server that restarts, or kept from others behind a pooler.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import psycopg

from step_audit.errors import CannotConnectError, describe
from step_audit.trust.alarms import NO_CONNECTION, Event, Standing
from step_audit.trust.plan import Plan
from step_audit.trust.rounds import Rounds, Times, is_lost
from step_audit.waiting import telling_of_waits

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0


class Watch:
    """A watch; ``tell`` is given each event, ``note`` what else happens, a line each."""

    def __init__(
        self, plan: Plan, tell: Callable[[Event], None], note: Callable[[str], None]
    ) -> None:
        self.plan, self.note = plan, note
        self.standing = Standing(tell)
        self._rounds = Rounds(plan, self.standing, note)
        self._lost_since: float | None = None

    @property
    def times(self) -> Times:
        """When each was done last."""
        return self._rounds.times

    def run(self) -> None:
        """Go on until something is raised from outside."""
        next_verify = next_whole = time.monotonic()
        pause = _FIRST_PAUSE
        while True:
            start = time.monotonic()
            is_due, is_whole = start >= next_verify, start >= next_whole
            try:
                self.look(verifies=is_due or is_whole, whole=is_whole)
            except CannotConnectError as error:
                self._lose(error)
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE, max(self.plan.seal_every, _FIRST_PAUSE))
                continue
            pause = _FIRST_PAUSE
            if is_due or is_whole:
                next_verify = start + self.plan.verify_every
            if is_whole:
                next_whole = start + self.plan.verify_all_every
            time.sleep(max(0.0, start + self.plan.seal_every - time.monotonic()))

    def look(self, *, verifies: bool, whole: bool) -> None:
        """One round.

        Raises:
            CannotConnectError: the server cannot be reached, or the connection was lost.
        """
        with self.plan.connect() as conn, telling_of_waits(conn, self.note):
            self._find_again()
            try:
                self._rounds.go(conn, verifies, whole)
            except psycopg.Error as error:
                if is_lost(conn, error):
                    raise CannotConnectError(
                        f"the connection was lost: {describe(error)}"
                    ) from error
                raise

    def _lose(self, error: CannotConnectError) -> None:
        now = time.monotonic()
        what = str(error)
        if self._lost_since is None:
            self._lost_since = now
            self.note(f"not connected, tries again: {what}")
        if now - self._lost_since >= self.plan.patience:
            # The server's words change while it starts; the alarm is one.
            stands = self.standing.alarms.get(NO_CONNECTION)
            self.standing.raise_one(NO_CONNECTION, stands.what if stands else what)

    def _find_again(self) -> None:
        if self._lost_since is not None:
            self._lost_since = None
            self.note("connected again")
        self.standing.clear(NO_CONNECTION)
