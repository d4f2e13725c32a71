"""What an owner can do to the planner of whoever reads his tables."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest
from psycopg.conninfo import make_conninfo

from step_audit.database import Connection, call
from step_audit.errors import RefusedError
from step_audit.trust.verify import verify
from tests.support.command import step_audit
from tests.support.connect import connect
from tests.support.host import HOST, behind_our_back, disable_own_audit
from tests.support.install import install_audit
from tests.support.partitions import partition_transitions
from tests.support.results import record_results
from tests.support.roles import give_engine_to, login_roles
from tests.trust.world import AUDITOR, OWNER, create_owner, seal

AUDIT = "tasker_workflow_step_result_audit"
LIE = "CREATE OR REPLACE FUNCTION f(n int) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT {}'"


@pytest.mark.parametrize(
    ("table", "column"),
    [
        (AUDIT, "workflow_step_result_audit_uuid"),
        (AUDIT, "workflow_step_transition_uuid"),
        ("step_audit_leaves", "leaf_index"),
    ],
)
def test_an_index_that_hides_rows_hides_no_extra_one(
    conn: Connection, table: str, column: str
) -> None:
    disable_own_audit(conn)
    record_results(conn, 300)
    seal(conn)
    conn.execute(LIE.format("FALSE").encode())
    conn.execute(f"CREATE INDEX lie ON {table} ({column}) WHERE f(1)".encode())
    conn.execute(LIE.format("TRUE").encode())
    with behind_our_back(conn):
        conn.execute(
            f"DELETE FROM {HOST.transitions} WHERE workflow_step_transition_uuid = "
            f"(SELECT min(workflow_step_transition_uuid::text)::uuid FROM {AUDIT})".encode()
        )
    conn.execute("ANALYZE")
    found = verify(conn, HOST.audit_schema).findings
    assert "extra" in {each.finding for each in found}
    names = [each.field for each in found if each.finding == "foreign object"]
    assert f"index lie on {table}" in names


EVIL = """
CREATE OR REPLACE FUNCTION {schema}.evil(n int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('role', 'none', TRUE);
    RAISE NOTICE 'ran as %', CURRENT_USER;
    RETURN TRUE;
END;
$$
"""


def owned_by_another(conn: Connection) -> None:
    """An audit whose owner has a function in the condition of an index."""
    HOST.create(conn)
    create_owner(conn)
    give_engine_to(conn, OWNER)
    install_audit(conn)
    record_results(conn, 20)
    seal(conn)
    schema = HOST.schemas[0]
    with conn.transaction():
        conn.execute(f"SET LOCAL ROLE {OWNER}".encode())
        # While an index is made, the role cannot be changed; later it can.
        conn.execute(f"{LIE.format('1 = 1').replace(' f(', f' {schema}.evil(')}".encode())
        index = f"CREATE INDEX lie ON {HOST.transitions} (sort_key) WHERE {schema}.evil(1)"
        conn.execute(index.encode())
        conn.execute(EVIL.format(schema=schema).encode())


def test_an_index_runs_its_owners_code_as_the_superuser_who_had_stepped_down(
    empty: Connection,
) -> None:
    """So a superuser is refused, and does not step down."""
    owned_by_another(empty)
    notices: list[str] = []
    empty.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    with empty.transaction(force_rollback=True):
        empty.execute("SET LOCAL ROLE pg_read_all_data")
        empty.execute(f"SELECT FROM {HOST.transitions} WHERE sort_key = 1".encode())
    assert "ran as postgres" in notices


@pytest.mark.parametrize("nested", [False, True])
def test_a_superuser_does_not_read_what_another_owns(empty: Connection, nested: bool) -> None:
    owned_by_another(empty)
    notices: list[str] = []
    empty.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    refusal = rf"{OWNER}, who owns .* may become postgres.*auditor"
    with (
        empty.transaction() if nested else nullcontext(),
        pytest.raises(RefusedError, match=refusal),
    ):
        verify(empty, HOST.audit_schema)
    assert notices == []


def owns_a_function(conn: Connection) -> None:
    """The superuser's index calls a function that another may define anew."""
    conn.execute(f"{LIE.format('TRUE').replace(' f(', ' public.f(')}".encode())
    conn.execute(f"ALTER FUNCTION public.f(int) OWNER TO {OWNER}".encode())
    conn.execute(f"CREATE INDEX lie ON {HOST.transitions} (sort_key) WHERE public.f(1)".encode())


def owns_a_partition(conn: Connection) -> None:
    conn.execute(f"ALTER TABLE {HOST.transitions}_2020_01 OWNER TO {OWNER}".encode())


def owns_a_schema_of_a_partition(conn: Connection) -> None:
    conn.execute(f"CREATE SCHEMA his AUTHORIZATION {OWNER}".encode())
    conn.execute(f"ALTER TABLE {HOST.transitions}_2020_01 SET SCHEMA his".encode())


@pytest.mark.parametrize("owns", [owns_a_function, owns_a_partition, owns_a_schema_of_a_partition])
def test_a_superuser_reads_nothing_that_calls_what_another_owns(
    empty: Connection, owns: Callable[[Connection], None]
) -> None:
    HOST.create(empty)
    create_owner(empty)
    partition_transitions(empty)
    install_audit(empty)
    record_results(empty, 3)
    assert verify(empty, HOST.audit_schema).findings == ()
    owns(empty)
    with pytest.raises(RefusedError, match=rf"{OWNER}, who .* may become postgres.*auditor"):
        verify(empty, HOST.audit_schema)


@pytest.mark.parametrize(
    "power", ["postgres", "pg_execute_server_program", "pg_write_server_files"]
)
def test_who_may_become_one_does_not_either(empty: Connection, power: str) -> None:
    owned_by_another(empty)
    role = f"member_of_{power}"
    empty.execute(f"CREATE ROLE {role} LOGIN IN ROLE pg_read_all_data, {power}".encode())
    try:
        with (
            connect(empty.info.dsn, user=role) as conn,
            pytest.raises(RefusedError, match=f"may become {power}"),
        ):
            verify(conn, HOST.audit_schema)
    finally:
        empty.execute(f"DROP ROLE {role}".encode())


def test_an_auditor_is_told_of_an_index_of_the_engines(empty: Connection) -> None:
    owned_by_another(empty)
    with connect(empty.info.dsn, user=AUDITOR) as conn:
        report = verify(conn, HOST.audit_schema)
    assert report.findings == ()
    assert any("index lie" in each and "evil" in each for each in report.remarks)


CATALOG_THAT_LIES = """
CREATE SCHEMA evil1;
CREATE SCHEMA evil2;
GRANT USAGE ON SCHEMA evil1, evil2 TO PUBLIC;
CREATE FUNCTION evil1.f(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN RETURN TRUE; END $$;
CREATE INDEX evil_steps ON {steps} (workflow_step_uuid) WHERE evil1.f(1);
CREATE INDEX evil_transitions ON {transitions} (created_at) WHERE evil1.f(1);
CREATE OR REPLACE FUNCTION evil1.f(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'evil1, pg_catalog', TRUE);
    RETURN TRUE;
END $$;
CREATE FUNCTION evil1.flip(oid, oid) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'evil2, pg_catalog', TRUE);
    RETURN FALSE;
END $$;
CREATE FUNCTION evil1.lie(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE AS
    $$ SELECT pg_catalog.texteq($1, $2) AND NOT pg_catalog.texteq($1, 'search_path') $$;
CREATE FUNCTION evil2.never(oid, oid) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT FALSE';
CREATE FUNCTION evil2.never(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT FALSE';
CREATE OPERATOR evil1.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil1.lie);
CREATE OPERATOR evil1.>= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = evil1.flip);
CREATE OPERATOR evil2.>= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = evil2.never);
CREATE OPERATOR evil2.<> (LEFTARG = oid, RIGHTARG = oid, FUNCTION = evil2.never);
CREATE OPERATOR evil2.!~ (LEFTARG = text, RIGHTARG = text, FUNCTION = evil2.never);
GRANT ALL ON {audit} TO PUBLIC;
"""


@pytest.mark.parametrize("reading", ["columns", "all"])
def test_an_index_that_changes_the_search_path_hides_nothing_of_the_catalog(
    empty: Connection, reading: str
) -> None:
    owned_by_another(empty)
    steps = next(table for table in HOST.tables if table.endswith("workflow_steps"))
    engine, _, _ = HOST.transitions.rpartition(".")
    empty.execute(f"DROP INDEX {engine or HOST.schemas[0]}.lie".encode())
    empty.execute(f"GRANT CREATE ON DATABASE {empty.info.dbname} TO {OWNER}".encode())
    role = f"reads_{reading}"
    with login_roles(empty, role):
        if reading == "all":
            empty.execute(f"GRANT pg_read_all_data TO {role}".encode())
        else:
            call(empty, HOST.audit_schema, "grant_step_audit", p_role=role, p_as="auditor")
        with empty.transaction():
            empty.execute(f"SET LOCAL ROLE {OWNER}".encode())
            audit = f"{HOST.audit_schema}.{AUDIT}"
            named = {"steps": steps, "transitions": HOST.transitions, "audit": audit}
            empty.execute(CATALOG_THAT_LIES.format(**named).encode())
        with connect(empty.info.dsn, user=role) as conn:
            report = verify(conn, HOST.audit_schema)
    found = {each.field for each in report.findings}
    assert any("PUBLIC" in (field or "") and AUDIT in (field or "") for field in found), found
    assert any("evil1.f" in each for each in report.remarks)


@pytest.mark.parametrize(
    "change",
    [
        f"ALTER TABLE {AUDIT} ALTER task_uuid DROP NOT NULL; UPDATE {AUDIT} SET task_uuid = NULL",
        "ALTER TABLE step_audit_leaves ALTER kind DROP NOT NULL; "
        "UPDATE step_audit_leaves SET kind = NULL",
        "ALTER TABLE step_audit_leaves ALTER leaf_index TYPE numeric USING leaf_index + 0.5",
        "ALTER TABLE step_audit_leaves ALTER leaf_hash TYPE text USING 'zz'",
        "ALTER TABLE step_audit_seals ALTER covered TYPE text USING '1:2'",
        "ALTER TABLE step_audit_seals ALTER tree_size TYPE text USING 'zz'",
        "ALTER TABLE step_audit_salts ALTER salt TYPE text USING 'x'",
    ],
)
def test_a_column_whose_rows_cannot_be_read_hides_no_other_finding(
    conn: Connection, change: str
) -> None:
    disable_own_audit(conn)
    record_results(conn, 20)
    seal(conn)
    conn.execute(f"DROP VIEW {HOST.audit_schema}.step_audits".encode())
    table = change.split()[2]
    conn.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER".encode())
    conn.execute(f"{change}".encode())
    report = verify(conn, HOST.audit_schema)
    fields = {each.field for each in report.findings}
    assert "view step_audits" in fields
    assert any((field or "").startswith(f"column {table}.") for field in fields)
    assert report.not_looked_at


def test_what_an_owners_code_says_is_not_taken_for_the_servers_word(empty: Connection) -> None:
    owned_by_another(empty)
    schema = HOST.schemas[0]
    empty.execute(
        f"CREATE OR REPLACE FUNCTION {schema}.evil(n int) RETURNS boolean IMMUTABLE "
        "LANGUAGE plpgsql AS $$ BEGIN RAISE 'all is well'; END $$".encode()
    )
    dsn = make_conninfo(empty.info.dsn, user=AUDITOR)
    done = step_audit("verify", "--dsn", dsn)
    assert (done.code, done.out) == (3, "")
    assert "the database says: all is well. Nothing was verified. This may be said by" in done.err
    assert "step-audit verify --dump FOLDER" in done.err
