"""Connections for the service: read-only, with a statement timeout, back when the database is."""

from __future__ import annotations

import select
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool

from step_audit.database import conninfo
from step_audit.errors import CannotConnectError

Pool = AsyncConnectionPool[psycopg.AsyncConnection[Any]]

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


def create_pool(settings: dict[str, Any], statement_timeout: str, max_size: int = 10) -> Pool:
    """A pool that is not open yet; ``statement_timeout`` like ``30s``."""

    async def configure(conn: psycopg.AsyncConnection[Any]) -> None:
        await conn.execute(
            "SELECT set_config('default_transaction_read_only', 'on', false), "
            "set_config('statement_timeout', %s, false)",
            (statement_timeout,),
        )

    async def check(conn: psycopg.AsyncConnection[Any]) -> None:
        # Nothing comes from an idle server but its farewell; so a live one costs no round trip.
        if not _is_readable(conn.fileno()):
            return
        try:
            await pool.check_connection(conn)
        except psycopg.OperationalError:
            # The other idle connections are dead too, and not to be tried one by one.
            await pool.drain()
            raise

    pool: Pool = AsyncConnectionPool(
        open=False,
        min_size=1,
        max_size=max_size,
        timeout=_TIMEOUT,
        reconnect_timeout=_RECONNECT_TIMEOUT,
        configure=configure,
        check=check,
        kwargs={
            **settings,
            "autocommit": True,
            "client_encoding": "utf8",
            "fallback_application_name": "step-audit serve",
        },
    )
    return pool


def _is_readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
