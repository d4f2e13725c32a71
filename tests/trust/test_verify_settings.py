"""Settings that a role or a database brings to each new session change nothing of what is found."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from step_audit.database import Connection
from step_audit.trust.verify import Report, open_signed, verify
from step_audit.trust.verify.report import Finding
from tests.support.connect import connect_again
from tests.support.host import HOST
from tests.support.replication import wait_until
from tests.trust.attacks import AUDIT, LEAVES, TRANSITIONS
from tests.trust.circumstances import Workshop
from tests.trust.world import AUDITOR, OWNER, World, seal, start_world

LEVELS = {
    "role": "ROLE {role}",
    "database": "DATABASE {database}",
    "role_in_database": "ROLE {role} IN DATABASE {database}",
}
HOSTILE = {
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "row_security": "on",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "iso_8601",
    "TimeZone": "Asia/Kathmandu",
    "bytea_output": "escape",
    "client_encoding": "LATIN1",
    "constraint_exclusion": "on",
    "extra_float_digits": "-15",
    "quote_all_identifiers": "on",
    "standard_conforming_strings": "off",
    "transform_null_equals": "on",
    "array_nulls": "off",
    "xmlbinary": "hex",
    "session_replication_role": "replica",
    "restrict_nonsystem_relation_kind": "view",
    "client_min_messages": "error",
    "from_collapse_limit": "1",
    "join_collapse_limit": "1",
    "plan_cache_mode": "force_generic_plan",
    "work_mem": "64kB",
    "jit_above_cost": "0",
}
SHADOWS = (
    "CREATE SCHEMA shadows",
    "CREATE FUNCTION shadows.lower(text) RETURNS text LANGUAGE sql AS 'SELECT NULL::text'",
    "CREATE FUNCTION shadows.current_setting(text) RETURNS text LANGUAGE sql AS 'SELECT ''x'''",
    "CREATE FUNCTION shadows.same(uuid, uuid) RETURNS boolean LANGUAGE sql AS 'SELECT FALSE'",
    "CREATE OPERATOR shadows.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = shadows.same)",
    f"CREATE TABLE shadows.{AUDIT} (LIKE {AUDIT})",
    f"CREATE TABLE shadows.{LEAVES} (LIKE {LEAVES})",
    f"CREATE VIEW shadows.{TRANSITIONS} AS SELECT * FROM {TRANSITIONS} WHERE FALSE",
    "CREATE VIEW shadows.pg_class AS SELECT * FROM pg_catalog.pg_class WHERE FALSE",
    "CREATE VIEW shadows.pg_settings AS SELECT * FROM pg_catalog.pg_settings WHERE FALSE",
)


@pytest.fixture(scope="module")
def world(workshop: Workshop) -> World:
    world = start_world(workshop.database())
    seal(world.conn)
    world.newer = world.sign()
    world.history.record(world.conn, 5)
    for statement in SHADOWS:
        world.conn.execute(statement.encode())
    return world


@contextmanager
def hostile(world: World, level: str, settings: dict[str, sql.Composable]) -> Iterator[None]:
    """Each new session of the role, or of the database, has these settings."""
    which = sql.SQL(LEVELS[level]).format(
        role=sql.Identifier(AUDITOR), database=sql.Identifier(world.conn.info.dbname)
    )
    try:
        for name, value in settings.items():
            world.conn.execute(
                sql.SQL("ALTER {} SET {} = {}").format(which, sql.Identifier(name), value)
            )
        yield
    finally:
        world.conn.execute(sql.SQL("ALTER {} RESET ALL").format(which))


def new_session(world: World) -> Connection:
    """One of the auditor's that asks for no setting of its own."""
    dsn = make_conninfo(world.conn.info.dsn, options="", user=AUDITOR)
    return psycopg.connect(dsn, autocommit=True, row_factory=dict_row)


def verify_there(world: World, conn: Connection, workers: int = 1) -> Report:
    signed = open_signed(world.newer, None, world.public_key)
    return verify(conn, HOST.audit_schema, signed=signed, workers=workers)


def setting_of(conn: Connection, name: str) -> str:
    (row,) = conn.execute("SELECT pg_catalog.current_setting(%s) AS value", (name,)).fetchall()
    return str(row["value"])


@pytest.mark.parametrize(("level", "workers"), [*((each, 1) for each in LEVELS), ("role", 2)])
def test_hostile_settings_change_nothing(world: World, level: str, workers: int) -> None:
    with new_session(world) as conn:
        expected = verify_there(world, conn)
        methods = [
            str(row["name"])
            for row in conn.execute(
                "SELECT name FROM pg_settings WHERE name ~ '^enable_' AND vartype = 'bool'"
            ).fetchall()
        ]
    assert expected.findings == ()
    assert expected.counts.unsealed == 5
    values = HOSTILE | dict.fromkeys(methods, "off")
    settings: dict[str, sql.Composable] = {
        name: sql.Literal(value) for name, value in values.items()
    }
    path = sql.SQL("shadows, pg_temp, pg_catalog")
    with hostile(world, level, settings | {"search_path": path}), new_session(world) as conn:
        assert {name: setting_of(conn, name) for name in values} == values
        assert conn.execute("SELECT lower('X') AS shadow").fetchall() == [{"shadow": None}]
        report = verify_there(world, conn, workers)
    # The engine's sessions have it too, and their results go without a trigger.
    field = f"setting session_replication_role of database {world.conn.info.dbname}"
    silent = Finding("foreign object", field=field, stored="replica")
    assert report.findings == ((silent,) if level == "database" else ())
    assert report.counts == expected.counts
    assert report.not_looked_at == expected.not_looked_at


def test_a_session_that_begins_in_the_owners_role_finds_the_same(world: World) -> None:
    conn = world.conn
    conn.execute(f"GRANT {OWNER} TO {AUDITOR}".encode())
    try:
        with (
            hostile(world, "role", {"role": sql.Identifier(OWNER)}),
            new_session(world) as session,
        ):
            assert setting_of(session, "role") == OWNER
            report = verify_there(world, session, 2)
    finally:
        conn.execute(f"REVOKE {OWNER} FROM {AUDITOR}".encode())
    assert report.findings == ()
    assert report.source.role == OWNER
    assert report.counts.unsealed == 5


def test_short_timeouts_do_not_end_it(world: World) -> None:
    settings: dict[str, sql.Composable] = {
        "lock_timeout": sql.Literal("1ms"),
        "statement_timeout": sql.Literal("1s"),
    }
    waiting = (
        "SELECT FROM pg_stat_activity WHERE usename = %s AND wait_event_type = 'Lock' "
        "AND clock_timestamp() - query_start > interval '1.2 s'"
    )
    with (
        hostile(world, "role", settings),
        new_session(world) as reader,
        connect_again(world.conn) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        with other.transaction():
            other.execute(f"LOCK TABLE {AUDIT} IN ACCESS EXCLUSIVE MODE")
            verifying = pool.submit(verify_there, world, reader)
            wait_until(
                lambda: (
                    verifying.done() or bool(world.conn.execute(waiting, (AUDITOR,)).fetchall())
                ),
                "waiting for the lock",
            )
        assert verifying.result().findings == ()
