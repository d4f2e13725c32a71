"""How commands connect: one that waits for a lock says so."""
# ruff: noqa: PLC0415

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from step_audit.cli.output import say

if TYPE_CHECKING:
    from step_audit.database import Connection


@contextmanager
def connected(dsn: str | None) -> Iterator[Connection]:
    """A connection, as :func:`step_audit.database.connect` gives it.

    Raises:
        CannotConnectError: the server cannot be reached, or does not let us in.
    """
    from step_audit.database import connect
    from step_audit.waiting import telling_of_waits

    with connect(dsn) as conn, telling_of_waits(conn, _tell):
        yield conn


def _tell(what: str) -> None:
    say(f"step-audit: {what}", err=True)
