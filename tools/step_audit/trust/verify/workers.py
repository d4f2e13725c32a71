"""Who does the work: this process alone where the log is small, else several on one snapshot."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from psycopg.conninfo import make_conninfo

from step_audit.database import Connection, connect
from step_audit.errors import RefusedError
from step_audit.signals import follow_parent
from step_audit.trust.verify.session import Session, reading
from step_audit.trust.verify.tables import TRANSITIONS
from step_audit.waiting import name_of_parts

SMALL = 256 * 2**20
"""Bytes of transitions up to which one process is enough."""

_MOST = 4

Done = TypeVar("Done")
Work = Callable[..., Done]


class Workers(Protocol):
    """Does pieces of work on the connection and the tables of a snapshot, in their order."""

    def run(self, work: Work[Done], pieces: Sequence[tuple[Any, ...]]) -> Iterator[Done]:
        """Do ``work(conn, place, *piece)`` for each piece."""
        ...

    def strangers(self) -> set[int]:
        """Relations that a worker has locked and that are none that is read."""
        ...


@contextmanager
def start_workers(session: Session, wanted: int | None) -> Iterator[Workers]:
    """Start so many processes, or as many as are worth it; none where the caller's transaction is.

    Raises:
        RefusedError: a worker died, or cannot lock what it is to read.
    """
    count = _count(session, wanted)
    if count == 1:
        yield _Alone(session)
        return
    (row,) = session.conn.execute("SELECT pg_catalog.pg_export_snapshot() AS id").fetchall()
    info = session.conn.info
    dsn = make_conninfo(
        **{**info.get_parameters(), "application_name": name_of_parts()},
        password=info.password or None,
    )
    pool = ProcessPoolExecutor(
        count,
        multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(dsn, session.place.schema, row["id"]),
    )
    try:
        yield _Pool(pool)
    except BrokenProcessPool as error:
        raise RefusedError(
            "a process that read a part of the evidence died, or could not begin, so not all was "
            "verified. If a migration of the engine waits for a lock, let it end first; else look "
            "for what ended the process, memory for one, and verify again."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _count(session: Session, wanted: int | None) -> int:
    if session.is_nested or not session.is_login:
        return 1
    if wanted is not None:
        return max(wanted, 1)
    if session.place[TRANSITIONS].bytes <= SMALL:
        return 1
    return min(os.cpu_count() or 1, _MOST)


class _Alone:
    def __init__(self, session: Session) -> None:
        self._session = session

    def run(self, work: Work[Done], pieces: Sequence[tuple[Any, ...]]) -> Iterator[Done]:
        return (work(self._session.conn, self._session.place, *piece) for piece in pieces)

    def strangers(self) -> set[int]:
        return set()


class _Pool:
    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool
        self._strangers: set[int] = set()

    def run(self, work: Work[Done], pieces: Sequence[tuple[Any, ...]]) -> Iterator[Done]:
        # Begun at once, and taken as they are wanted.
        return self._note(self._pool.map(_do, ((work, piece) for piece in pieces)))

    def _note(self, results: Iterator[tuple[Done, set[int]]]) -> Iterator[Done]:
        for done, strangers in results:
            self._strangers |= strangers
            yield done

    def strangers(self) -> set[int]:
        return self._strangers


@dataclass
class _Mine:
    """What a worker has: its session, until it ends."""

    at_end: ExitStack
    session: Session


_mine: list[_Mine] = []


def _begin(dsn: str, schema: str, snapshot: str) -> None:
    at_end = ExitStack()
    conn: Connection = at_end.enter_context(connect(dsn))
    follow_parent(conn)
    # A migration that waits for the leader's lock would keep this worker waiting for ever.
    session = at_end.enter_context(reading(conn, schema, snapshot, patience="10s"))
    _mine.append(_Mine(at_end, session))


def _do(todo: tuple[Work[Done], tuple[Any, ...]]) -> tuple[Done, set[int]]:
    work, piece = todo
    session = _mine[0].session
    done = work(session.conn, session.place, *piece)
    return done, session.strangers()
