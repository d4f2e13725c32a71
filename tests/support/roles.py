"""Roles for a while, and an engine that belongs to one of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from tests.support.host import HOST


@contextmanager
def login_roles(conn: psycopg.Connection[Any], *names: str) -> Iterator[None]:
    """Roles that can log in and own nothing; they and what they own are gone afterwards."""
    identifiers = [sql.Identifier(name) for name in names]
    for name in identifiers:
        conn.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(name))
        conn.execute(sql.SQL("CREATE ROLE {} LOGIN").format(name))
    try:
        yield
    finally:
        conn.execute("RESET ROLE")
        for name in identifiers:
            conn.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(name))
        for name in identifiers:
            conn.execute(sql.SQL("DROP ROLE {}").format(name))


def give_engine_to(conn: psycopg.Connection[Any], owner: str) -> None:
    """Give the engine's tables to a role, with the rights that an owner needs around them."""
    for table in HOST.tables:
        conn.execute(f"ALTER TABLE {table} OWNER TO {owner}".encode())
    schema = HOST.schemas[-1]
    conn.execute(f"GRANT USAGE, CREATE ON SCHEMA {schema} TO {owner}".encode())
    conn.execute(f"GRANT CREATE ON DATABASE {conn.info.dbname} TO {owner}".encode())
