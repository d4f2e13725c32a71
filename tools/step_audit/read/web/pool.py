"""Connections for the service: lent for a read-only transaction, back when the database is."""

from __future__ import annotations

import select
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool

from step_audit.database import PIN_NAMES, conninfo
from step_audit.errors import CannotConnectError
from step_audit.read.web.outage import Outage

Conn = psycopg.AsyncConnection[Any]

# Seconds that a request waits for a connection.
_TIMEOUT = 3.0
# Seconds that a lost connection is tried again for; after that, whenever a request wants one.
_RECONNECT_TIMEOUT = 2.0

# Unless the connection string says otherwise, a network that swallows all is noticed too.
_DEFAULTS = {"connect_timeout": "3", "tcp_user_timeout": "10000"}


def connection_settings(dsn: str | None) -> dict[str, Any]:
    """What to connect with: ``dsn``, else ``STEP_AUDIT_DSN``, else libpq's ``PG*``.

    Raises:
        CannotConnectError: the connection string is none.
    """
    try:
        return _DEFAULTS | conninfo_to_dict(conninfo(dsn))
    except psycopg.ProgrammingError as error:
        raise CannotConnectError(f"the connection string is none: {str(error).strip()}.") from error


class Pool:
    """Connections that are lent for one read each; open within ``async with``.

    Args:
        settings: what to connect with.
        statement_timeout: how long a query may take, like ``30s``.
        max_size: how many at most.
    """

    def __init__(
        self, settings: dict[str, Any], statement_timeout: str, max_size: int = 10
    ) -> None:
        # One message to the server. Behind a pooler the session is not ours: what is set ends with
        # the transaction.
        self._begin = sql.SQL(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {}; SET LOCAL statement_timeout = {}"
        ).format(sql.SQL(PIN_NAMES), statement_timeout)
        self._connections = AsyncConnectionPool(
            connection_class=_noting(Outage()),
            open=False,
            min_size=1,
            max_size=max_size,
            timeout=_TIMEOUT,
            reconnect_timeout=_RECONNECT_TIMEOUT,
            check=self._check,
            kwargs={
                **settings,
                "autocommit": True,
                "prepare_threshold": None,
                "client_encoding": "utf8",
                "fallback_application_name": "step-audit serve",
            },
        )

    async def __aenter__(self) -> Self:
        """Open it; whether the database is there or not."""
        await self._connections.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections."""
        await self._connections.close()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Conn]:
        """Lend a connection within a read-only transaction, which sees one state of the database.

        Raises:
            psycopg.Error: none was to be had in time.
        """
        # At its end the pool commits, or rolls back after an error.
        async with self._connections.connection() as conn:
            await conn.execute(self._begin)
            yield conn

    async def _check(self, conn: Conn) -> None:
        # Nothing comes from an idle server but its farewell; so a live one costs no round trip.
        if not _is_readable(conn.fileno()):
            return
        try:
            await self._connections.check_connection(conn)
        except psycopg.OperationalError:
            # The other idle connections are dead too, and not to be tried one by one.
            await self._connections.drain()
            raise


def _noting(outage: Outage) -> type[Conn]:
    """Connections whose making tells of an outage, and of its end."""

    class NotingConnection(psycopg.AsyncConnection[Any]):
        @classmethod
        async def connect(cls, conninfo: str = "", **settings: Any) -> Self:
            try:
                conn = await super().connect(conninfo, **settings)
            except psycopg.Error as error:
                outage.goes_on(error)
                raise
            outage.is_over()
            return conn

    return NotingConnection


def _is_readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
