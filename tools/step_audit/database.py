"""Connecting, and calling step-audit's functions in the schema where they are installed."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, Generator, Iterable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    aclosing,
    closing,
    contextmanager,
    nullcontext,
)
from datetime import datetime
from typing import Any, LiteralString, cast
from weakref import WeakKeyDictionary

import psycopg
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row, scalar_row
from psycopg.types.datetime import TimestampLoader
from psycopg.types.string import TextLoader

from step_audit.errors import (
    CannotConnectError,
    DetachedError,
    NotInstalledError,
    SeveralInstalledError,
)

Connection = psycopg.Connection[DictRow]
AnyConnection = psycopg.Connection[Any] | psycopg.AsyncConnection[Any]

# Rows that a stream takes from the server at once, where libpq can (17 and later).
_STREAMED_TOGETHER = 100 if psycopg.capabilities.has_stream_chunked() else 1

_HAS_TRANSACTION_TIMEOUT = 170000

PIN_NAMES = "SET LOCAL search_path = pg_catalog, pg_temp"
"""What makes every name, operator and type that a transaction does not qualify the server's own.

The search_path of a session is set by the database's owner. A function or operator of his that is
found there first, or whose types fit better, would run with the rights of whoever reads.
"""

# In whatever transaction and under whatever path the caller has: so all names are written out.
_FIND_SCHEMAS = """
SELECT n.nspname
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON c.relnamespace OPERATOR(pg_catalog.=) n.oid
WHERE c.relname OPERATOR(pg_catalog.=) 'step_audit_files'::pg_catalog.name
    AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p}'::pg_catalog."char"[])
    AND c.relpersistence OPERATOR(pg_catalog.<>) 't'::pg_catalog."char"
    AND pg_catalog.has_schema_privilege(n.oid, 'USAGE'::pg_catalog.text)
ORDER BY n.nspname
"""

_ACT_AS_OWNER = """
SELECT pg_catalog.set_config('role', r.rolname, TRUE)
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON c.relnamespace = n.oid
JOIN pg_catalog.pg_roles AS r ON c.relowner = r.oid
WHERE n.nspname = %s AND c.relname = 'step_audit_files'
    AND r.rolname <> CURRENT_USER AND pg_catalog.pg_has_role(r.oid, 'MEMBER')
"""

# Where step-audit was found, by connection.
_found: WeakKeyDictionary[AnyConnection, str] = WeakKeyDictionary()


def conninfo(dsn: str | None = None) -> str:
    """The connection string to use: ``dsn``, else ``STEP_AUDIT_DSN``, else empty for ``PG*``."""
    return dsn or os.environ.get("STEP_AUDIT_DSN", "")


def connect(dsn: str | None = None) -> Connection:
    """Connect by ``dsn``, else ``STEP_AUDIT_DSN``, else libpq's ``PG*``; in autocommit.

    The session is not ours where a pooler shares it: nothing is prepared in it, and settings are
    for a :func:`transaction` only.

    Raises:
        CannotConnectError: the server cannot be reached, or does not let us in.
    """
    try:
        return psycopg.connect(
            conninfo(dsn),
            autocommit=True,
            row_factory=dict_row,
            prepare_threshold=None,
            fallback_application_name="step-audit",
            client_encoding="utf8",
        )
    except psycopg.Error as error:
        reason = " ".join(str(error).split()).rstrip("?.")
        raise CannotConnectError(
            f"cannot connect to the database: {reason}. "
            "Give a connection with --dsn, STEP_AUDIT_DSN or PGHOST, PGUSER, PGDATABASE."
        ) from error


@contextmanager
def transaction(
    conn: Connection,
    force_rollback: bool = False,
    as_owner_of: str | None = None,
    writes: bool = False,
) -> Iterator[None]:
    """A READ COMMITTED transaction without time limits, whatever role or database have set.

    Such settings are made for applications, and would fail an install, a seal or a backfill. What
    its queries name without a schema is the server's own: see :data:`PIN_NAMES`.

    Args:
        conn: in autocommit.
        force_rollback: whether to roll back at the end.
        as_owner_of: a schema with step-audit. Whoever may act as its owner does: what the owner
            has put into his tables' place then runs with his rights, not with a superuser's.
        writes: whether it writes, whatever default_transaction_read_only says.
    """
    limits = ["statement_timeout", "idle_in_transaction_session_timeout"]
    if conn.info.server_version >= _HAS_TRANSACTION_TIMEOUT:
        limits.append("transaction_timeout")
    pinned = "".join(f"; SET LOCAL {limit} = 0" for limit in limits)
    with conn.transaction(force_rollback=force_rollback):
        mode = "READ COMMITTED, READ WRITE" if writes else "READ COMMITTED"
        conn.execute(f"SET TRANSACTION ISOLATION LEVEL {mode}; {PIN_NAMES}{pinned}".encode())
        if as_owner_of:
            conn.execute(_ACT_AS_OWNER, (as_owner_of,))
        yield


@contextmanager
def looking_up(conn: Connection) -> Iterator[None]:
    """A transaction, inside a caller's a savepoint, in which names are the server's own.

    It is rolled back, so that a caller's transaction has its path again.
    """
    with conn.transaction(force_rollback=True):
        conn.execute(PIN_NAMES)
        yield


def find_schema(conn: psycopg.Connection[Any]) -> str:
    """The schema where step-audit is installed; looked up once per connection.

    Raises:
        NotInstalledError: no schema that the role may use has it.
        SeveralInstalledError: more than one has it.
    """
    if conn not in _found:
        with _own_transaction(conn), conn.cursor(row_factory=scalar_row) as cursor:
            schemas = cursor.execute(_FIND_SCHEMAS, prepare=False).fetchall()
        _found[conn] = _only(schemas, conn)
    return _found[conn]


async def find_schema_async(conn: psycopg.AsyncConnection[Any]) -> str:
    """The schema as :func:`find_schema` finds it, through an async connection."""
    if conn not in _found:
        async with _own_transaction_async(conn), conn.cursor(row_factory=scalar_row) as cursor:
            await cursor.execute(_FIND_SCHEMAS, prepare=False)
            schemas = await cursor.fetchall()
        _found[conn] = _only(schemas, conn)
    return _found[conn]


def call(
    conn: psycopg.Connection[Any],
    schema: str | None,
    function: LiteralString,
    **arguments: object,
) -> list[DictRow]:
    """Call one of step-audit's functions by named arguments; gives its rows.

    Without a schema it is found. The caller's session is left as it was: in a transaction or in
    none, without a changed setting, without a prepared statement. A ``json`` value is given as its
    text: Python's floats would not keep every digit. A time that Python has none for, like
    infinity, is the nearest that it has.

    Raises:
        NotInstalledError: the schema has no such function, or none has step-audit.
        SeveralInstalledError: without a schema, and more than one has it.
    """
    with _own_transaction(conn):
        schema = schema or find_schema(conn)
        with _not_installed(conn, schema, function), conn.cursor(row_factory=dict_row) as cursor:
            _adapt(cursor)
            called = query(schema, function, arguments)
            return cursor.execute(called, arguments, prepare=False).fetchall()


def stream(
    conn: Connection, schema: str, function: LiteralString, **arguments: object
) -> Generator[DictRow]:
    """Call a function as :func:`call` does, in a transaction, and give its rows as they come.

    Close the generator before the transaction ends, which would wait for it.
    """
    with _not_installed(conn, schema, function), conn.cursor() as cursor:
        _adapt(cursor)
        called = query(schema, function, arguments)
        rows = cursor.stream(called, arguments, size=_STREAMED_TOGETHER)
        with closing(cast(Generator[DictRow], rows)):
            yield from rows


async def call_async(
    conn: psycopg.AsyncConnection[Any],
    schema: str | None,
    function: LiteralString,
    **arguments: object,
) -> list[DictRow]:
    """Call a function as :func:`call` does, through an async connection."""
    async with _own_transaction_async(conn):
        schema = schema or await find_schema_async(conn)
        with _not_installed(conn, schema, function):
            async with conn.cursor(row_factory=dict_row) as cursor:
                _adapt(cursor)
                called = query(schema, function, arguments)
                await cursor.execute(called, arguments, prepare=False)
                return await cursor.fetchall()


async def stream_async(
    conn: psycopg.AsyncConnection[Any],
    schema: str | None,
    function: LiteralString,
    **arguments: object,
) -> AsyncGenerator[DictRow]:
    """Call a function as :func:`call_async` does, and give its rows as they come.

    Close the generator where its end may not be reached: that cancels the query.
    """
    async with _own_transaction_async(conn):
        schema = schema or await find_schema_async(conn)
        with _not_installed(conn, schema, function):
            async with conn.cursor(row_factory=dict_row) as cursor:
                _adapt(cursor)
                called = query(schema, function, arguments)
                rows = cursor.stream(called, arguments, size=_STREAMED_TOGETHER)
                async with aclosing(cast(AsyncGenerator[DictRow], rows)):
                    async for row in rows:
                        yield row


class _NearestLoader(TimestampLoader):
    """A time that Python has none for, as infinity, is the nearest: no row stops the others."""

    def load(self, data: Buffer) -> datetime:
        try:
            return super().load(data)
        except psycopg.DataError:
            text = bytes(data)
            return datetime.min if text.startswith(b"-") or text.endswith(b"BC") else datetime.max


def _adapt(cursor: psycopg.Cursor[Any] | psycopg.AsyncCursor[Any]) -> None:
    cursor.adapters.register_loader("json", TextLoader)
    cursor.adapters.register_loader("timestamp", _NearestLoader)


def query(schema: str, function: LiteralString, arguments: Iterable[str]) -> sql.Composed:
    """The call of a function with these named arguments, as a query with named placeholders."""
    named = [
        sql.SQL("{} => {}").format(sql.Identifier(name), sql.Placeholder(name))
        for name in arguments
    ]
    # A percent sign in a name would be taken for a placeholder.
    name = sql.Identifier(schema.replace("%", "%%"), function)
    return sql.SQL("SELECT * FROM {}({})").format(name, sql.SQL(", ").join(named))


def _own_transaction(conn: psycopg.Connection[Any]) -> AbstractContextManager[object]:
    """A transaction where reading would open one and leave it open; elsewhere nothing."""
    return conn.transaction() if _opens_transactions(conn) else nullcontext()


def _own_transaction_async(
    conn: psycopg.AsyncConnection[Any],
) -> AbstractAsyncContextManager[object]:
    return conn.transaction() if _opens_transactions(conn) else nullcontext()


def _opens_transactions(conn: AnyConnection) -> bool:
    return not conn.autocommit and conn.info.transaction_status == TransactionStatus.IDLE


def _only(schemas: list[str], conn: AnyConnection) -> str:
    if not schemas:
        raise NotInstalledError(database=conn.info.dbname)
    if len(schemas) > 1:
        raise SeveralInstalledError(schemas, conn.info.dbname)
    return schemas[0]


@contextmanager
def _not_installed(conn: AnyConnection, schema: str, function: str) -> Iterator[None]:
    try:
        yield
    except psycopg.errors.UndefinedTable as error:
        # The names that attach gives the engine's tables.
        if re.match(r'relation "(step_audits|tasker_\w+)"', error.diag.message_primary or ""):
            raise DetachedError(schema) from error
        raise
    except (psycopg.errors.UndefinedFunction, psycopg.errors.InvalidSchemaName) as error:
        # Not where a function that ours calls is missing: that is another trouble.
        missing = error.diag.message_primary or ""
        if isinstance(error, psycopg.errors.UndefinedFunction) and function not in missing:
            raise
        # It may have been moved since it was found.
        _found.pop(conn, None)
        raise NotInstalledError(schema) from error
