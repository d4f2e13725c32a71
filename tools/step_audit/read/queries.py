"""Calls of the reading functions on either kind of connection, at once or as a stream."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, LiteralString, ParamSpec, TypeVar, overload

import psycopg

from step_audit.database import call, call_async, stream_async

MAX_LIMIT = 1_000_000

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Query(Generic[R, T]):
    """A function to call, what to make of each of its rows, and what of all of them."""

    schema: str | None
    function: LiteralString
    arguments: dict[str, object]
    read: Callable[[dict[str, Any]], R]
    collect: Callable[[list[R]], T]

    def result(self, rows: list[dict[str, Any]]) -> T:
        """What the rows say."""
        return self.collect([self.read(row) for row in rows])


class Reader(Generic[P, R, T]):
    """Runs the query that the decorated function describes, on either kind of connection.

    Called with an async connection it gives an awaitable.
    """

    def __init__(self, describe: Callable[P, Query[R, T]]) -> None:
        functools.update_wrapper(self, describe)
        self._describe = describe

    async def stream(
        self, conn: psycopg.AsyncConnection[Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[R]:
        """Give the records as they come from the server, whatever their number.

        Close the generator where its end may not be reached: that cancels the query.
        """
        query = self._describe(*args, **kwargs)
        rows = stream_async(conn, query.schema, query.function, **query.arguments)
        async with aclosing(rows):
            async for row in rows:
                yield query.read(row)

    @overload
    def __call__(
        self, conn: psycopg.Connection[Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...
    @overload
    def __call__(
        self, conn: psycopg.AsyncConnection[Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> Awaitable[T]: ...
    def __call__(
        self,
        conn: psycopg.Connection[Any] | psycopg.AsyncConnection[Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T | Awaitable[T]:
        """What the query gives, of an async connection to be awaited."""
        query = self._describe(*args, **kwargs)
        if isinstance(conn, psycopg.AsyncConnection):
            return _run_async(conn, query)
        return query.result(call(conn, query.schema, query.function, **query.arguments))


async def _run_async(conn: psycopg.AsyncConnection[Any], query: Query[R, T]) -> T:
    return query.result(await call_async(conn, query.schema, query.function, **query.arguments))


def one_more(limit: int) -> int:
    """The rows to ask for: one more than a page has tells whether there is another.

    Raises:
        ValueError: the limit is out of its range.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise ValueError(f"the limit must be from 1 to {MAX_LIMIT}, not {limit}")
    return limit + 1


def with_zone(time: datetime | None) -> datetime | None:
    """The time as a caller means it: without a zone in UTC."""
    return time.replace(tzinfo=UTC) if time and time.tzinfo is None else time
