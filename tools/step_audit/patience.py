"""What is tried again: a short transaction of a long command, and a look at the catalog."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Protocol, TypeVar

import psycopg

from step_audit.database import Connection, call, transaction

_RETRY_PAUSE = 0.1

# Seconds of waiting after which it is said who holds the lock.
_PATIENCE = 5.0

# How often a look at the catalog may meet an object that goes meanwhile.
_LOOKS = 10

Result = TypeVar("Result")
Told_co = TypeVar("Told_co", covariant=True)


class Tell(Protocol[Told_co]):
    """Makes what is yielded of who may hold the lock."""

    def __call__(self, *, holders: str) -> Told_co:
        """Say who may hold the lock."""


def look_again(look: Callable[[], Result]) -> Result:
    """What a look at the catalog gives.

    An index that REINDEX CONCURRENTLY drops meanwhile makes the server fail: it looks again then.

    Args:
        look: the look, in a transaction of its own.
    """
    for _ in range(_LOOKS - 1):
        with suppress(psycopg.errors.InternalError_):
            return look()
    return look()


def until_done(
    conn: Connection,
    schema: str,
    attempt: Callable[[], Result],
    tell: Tell[Told_co],
    as_owner_of: str | None = None,
) -> Generator[Told_co, None, Result]:
    """Try a transaction until it meets no lock and no deadlock; gives its result.

    Args:
        conn: of the transaction, between two of them.
        schema: where step-audit is installed.
        attempt: the transaction.
        tell: makes what is yielded where it has waited for long, and each time it has again.
        as_owner_of: a schema as whose owner it is looked who holds the lock.
    """
    told = time.monotonic()
    while True:
        try:
            return attempt()
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
            # It was interrupted in the same moment, and psycopg waited for the statement's end.
            if isinstance(error.__context__, KeyboardInterrupt | SystemExit):
                raise error.__context__ from error
        if time.monotonic() - told >= _PATIENCE:
            yield tell(holders=_name_holders(conn, schema, as_owner_of))
            told = time.monotonic()
        time.sleep(_RETRY_PAUSE)


def _name_holders(conn: Connection, schema: str, as_owner_of: str | None) -> str:
    with transaction(conn, as_owner_of=as_owner_of):
        rows = call(conn, schema, "list_lock_holders")
    return "; ".join(row["holder"] for row in rows) or "a session that has ended"
