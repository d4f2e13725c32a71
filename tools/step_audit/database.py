"""Connecting, and calling step-audit's functions in the schema where they are installed."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, LiteralString, cast

import psycopg
from psycopg import sql
from psycopg.rows import DictRow, dict_row
from psycopg.types.string import TextLoader

from step_audit.errors import CannotConnectError, NotInstalledError

Connection = psycopg.Connection[DictRow]

# Rows that a stream takes from the server at once, where libpq can (17 and later).
_STREAMED_TOGETHER = 100 if psycopg.capabilities.has_stream_chunked() else 1


def conninfo(dsn: str | None = None) -> str:
    """The connection string to use: ``dsn``, else ``STEP_AUDIT_DSN``, else empty for ``PG*``."""
    return dsn or os.environ.get("STEP_AUDIT_DSN", "")


def connect(dsn: str | None = None) -> Connection:
    """Connect by ``dsn``, else ``STEP_AUDIT_DSN``, else libpq's ``PG*``; in autocommit.

    Raises:
        CannotConnectError: the server cannot be reached, or does not let us in.
    """
    try:
        conn = psycopg.connect(
            conninfo(dsn),
            autocommit=True,
            row_factory=dict_row,
            fallback_application_name="step-audit",
            client_encoding="utf8",
        )
    except psycopg.Error as error:
        reason = " ".join(str(error).split()).rstrip("?.")
        raise CannotConnectError(
            f"cannot connect to the database: {reason}. "
            "Give a connection with --dsn, STEP_AUDIT_DSN or PGHOST, PGUSER, PGDATABASE."
        ) from error
    # What a role or database may have set for applications would fail an install or a backfill.
    conn.execute(
        "SELECT set_config('default_transaction_isolation', 'read committed', false), "
        "set_config('statement_timeout', '0', false)"
    )
    return conn


def call(
    conn: psycopg.Connection[Any], schema: str, function: LiteralString, **arguments: object
) -> list[DictRow]:
    """Call one of step-audit's functions by named arguments; gives its rows.

    A ``json`` value is given as its text: Python's floats would not keep every digit.

    Raises:
        NotInstalledError: the schema has no such function.
    """
    with _not_installed(schema, function), conn.cursor(row_factory=dict_row) as cursor:
        cursor.adapters.register_loader("json", TextLoader)
        return cursor.execute(query(schema, function, arguments), arguments).fetchall()


async def call_async(
    conn: psycopg.AsyncConnection[Any], schema: str, function: LiteralString, **arguments: object
) -> list[DictRow]:
    """Call a function as :func:`call` does, through an async connection."""
    with _not_installed(schema, function):
        async with conn.cursor(row_factory=dict_row) as cursor:
            cursor.adapters.register_loader("json", TextLoader)
            await cursor.execute(query(schema, function, arguments), arguments)
            return await cursor.fetchall()


async def stream_async(
    conn: psycopg.AsyncConnection[Any], schema: str, function: LiteralString, **arguments: object
) -> AsyncGenerator[DictRow]:
    """Call a function as :func:`call_async` does, and give its rows as they come.

    Close the generator where its end may not be reached: that cancels the query.
    """
    with _not_installed(schema, function):
        async with conn.cursor(row_factory=dict_row) as cursor:
            cursor.adapters.register_loader("json", TextLoader)
            called = query(schema, function, arguments)
            rows = cursor.stream(called, arguments, size=_STREAMED_TOGETHER)
            async with aclosing(cast(AsyncGenerator[DictRow], rows)):
                async for row in rows:
                    yield row


def query(schema: str, function: LiteralString, arguments: Iterable[str]) -> sql.Composed:
    """The call of a function with these named arguments, as a query with named placeholders."""
    named = [
        sql.SQL("{} => {}").format(sql.Identifier(name), sql.Placeholder(name))
        for name in arguments
    ]
    return sql.SQL("SELECT * FROM {}({})").format(
        sql.Identifier(schema, function), sql.SQL(", ").join(named)
    )


@contextmanager
def _not_installed(schema: str, function: str) -> Iterator[None]:
    try:
        yield
    except (psycopg.errors.UndefinedFunction, psycopg.errors.InvalidSchemaName) as error:
        # Not where a function that ours calls is missing: that is another trouble.
        missing = error.diag.message_primary or ""
        if isinstance(error, psycopg.errors.UndefinedFunction) and function not in missing:
            raise
        raise NotInstalledError(schema) from error
