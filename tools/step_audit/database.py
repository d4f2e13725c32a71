"""Connecting, and calling step-audit's functions in the schema where they are installed."""

from __future__ import annotations

import os
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import DictRow, dict_row

from step_audit.errors import CannotConnectError, NotInstalledError

Connection = psycopg.Connection[DictRow]


def connect(dsn: str | None = None) -> Connection:
    """Connect by ``dsn``, else ``STEP_AUDIT_DSN``, else libpq's ``PG*``; in autocommit.

    Raises:
        CannotConnectError: the server cannot be reached, or does not let us in.
    """
    conninfo = dsn or os.environ.get("STEP_AUDIT_DSN", "")
    try:
        return psycopg.connect(
            conninfo,
            autocommit=True,
            row_factory=dict_row,
            fallback_application_name="step-audit",
        )
    except psycopg.Error as error:
        raise CannotConnectError(
            f"cannot connect to the database: {' '.join(str(error).split())}. "
            "Give a connection with --dsn, STEP_AUDIT_DSN or PGHOST, PGUSER, PGDATABASE."
        ) from error


def call(
    conn: psycopg.Connection[Any], schema: str, function: LiteralString, **arguments: object
) -> list[DictRow]:
    """Call one of step-audit's functions by named arguments; gives its rows.

    Raises:
        NotInstalledError: the schema has no such function.
    """
    named = [
        sql.SQL("{} => {}").format(sql.Identifier(name), sql.Placeholder(name))
        for name in arguments
    ]
    query = sql.SQL("SELECT * FROM {}({})").format(
        sql.Identifier(schema, function), sql.SQL(", ").join(named)
    )
    try:
        with conn.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, arguments).fetchall()
    except (psycopg.errors.UndefinedFunction, psycopg.errors.InvalidSchemaName) as error:
        raise NotInstalledError(schema) from error
