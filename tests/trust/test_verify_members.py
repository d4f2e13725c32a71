"""Roles that may become the owner, or write all that there is, are told by verify."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from step_audit.database import Connection
from step_audit.trust.verify import verify
from tests.support.host import HOST
from tests.trust.world import OWNER, World, as_auditor, seal, start_world

POWERS = (
    OWNER,
    "pg_write_all_data",
    "pg_execute_server_program",
    "pg_write_server_files",
)


@pytest.fixture
def world(empty: Connection) -> World:
    world = start_world(empty)
    seal(empty)
    return world


@contextmanager
def role(conn: Connection, name: str, attributes: str) -> Iterator[None]:
    conn.execute(f"CREATE ROLE {name} {attributes}".encode())
    try:
        yield
    finally:
        conn.execute(f"DROP ROLE {name}".encode())


def remarks(world: World) -> list[str]:
    with as_auditor(world.conn):
        report = verify(world.conn, HOST.audit_schema)
    assert report.findings == ()
    return [each for each in report.remarks if "is a member of" in each]


@pytest.mark.parametrize("power", POWERS)
def test_a_member_of_a_role_that_may_write_the_evidence_is_told(world: World, power: str) -> None:
    conn = world.conn
    assert remarks(world) == []
    with (
        role(conn, "first_member", f"NOLOGIN IN ROLE {power}"),
        role(conn, "member_of_the_member", "LOGIN NOINHERIT IN ROLE first_member"),
        # Who has all rights anyhow, and who is in another role, are not.
        role(conn, "another_superuser", f"SUPERUSER IN ROLE {power}"),
        role(conn, "only_reader", "LOGIN IN ROLE pg_read_all_data"),
    ):
        assert remarks(world) == [
            f"role {name} is a member of {power}, and so may change what is recorded, once it has "
            "taken the guards away"
            for name in ("first_member", "member_of_the_member")
        ]
    assert remarks(world) == []


def test_who_may_drop_the_tables_of_others_with_the_schema_is_told(world: World) -> None:
    conn = world.conn
    schema = HOST.audit_schema
    (was,) = conn.execute(
        "SELECT nspowner::regrole::text AS owner, current_database() AS database, "
        "(SELECT datdba::regrole::text FROM pg_database WHERE datname = current_database()) AS dba "
        "FROM pg_namespace WHERE nspname = %s",
        (schema,),
    ).fetchall()

    def told() -> list[str]:
        with as_auditor(conn):
            report = verify(conn, schema)
        assert report.findings == ()
        return [each for each in report.remarks if "owns schema" in each]

    def is_told(name: str) -> bool:
        said = f"role {name} owns schema {schema}, and so may drop the tables of {OWNER} in it"
        return told() == [said]

    assert told() == []
    with role(conn, "another", "NOLOGIN"):
        try:
            conn.execute(f"ALTER SCHEMA {schema} OWNER TO another".encode())
            assert is_told("another")
            conn.execute(f"ALTER SCHEMA {schema} OWNER TO pg_database_owner".encode())
            assert told() == []
            conn.execute(f"ALTER DATABASE {was['database']} OWNER TO another".encode())
            assert is_told("another")
            conn.execute(f"ALTER DATABASE {was['database']} OWNER TO {OWNER}".encode())
            assert told() == []
        finally:
            conn.execute(f"ALTER DATABASE {was['database']} OWNER TO {was['dba']}".encode())
            conn.execute(f"ALTER SCHEMA {schema} OWNER TO {was['owner']}".encode())
