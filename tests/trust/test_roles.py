"""Who may do what: the engine, a reader, a sealer, an owner without superuser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest
from psycopg import errors, sql

from step_audit.database import Connection, call
from step_audit.errors import RefusedError
from step_audit.trust.proof import verify_proof
from step_audit.trust.sealed_log import make_proof
from step_audit.trust.verify import verify
from tests.support.command import step_audit
from tests.support.connect import connect_again, dsn_of
from tests.support.host import HOST, OK, READING, USAGE, Transition, create_steps, insert_each
from tests.support.install import install_audit
from tests.trust.attacks import GUARDED
from tests.trust.world import World, as_auditor, grow_to_newer, grow_to_older, seal, start_world

TABLES = ", ".join(HOST.tables)


@contextmanager
def role(conn: Connection, name: str, *rights: str) -> Iterator[None]:
    """A role that can log in with these rights and no other; all of it is gone afterwards."""
    named = sql.Identifier(name)
    conn.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(named))
    conn.execute(sql.SQL("CREATE ROLE {} LOGIN").format(named))
    for right in rights:
        conn.execute(f"GRANT {right} TO {name}".encode())
    conn.execute(sql.SQL("SET ROLE {}").format(named))
    try:
        yield
    finally:
        conn.execute("RESET ROLE")
        conn.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(named))
        conn.execute(sql.SQL("DROP ROLE {}").format(named))


@pytest.fixture
def world(empty: Connection) -> World:
    made = start_world(empty)
    grow_to_older(made)
    grow_to_newer(made)
    return made.finish()


def assert_denied(conn: Connection, statement: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        conn.execute(statement.encode())


def test_the_engine_is_audited_and_has_no_right_on_the_evidence(world: World) -> None:
    conn = world.conn
    before = len(world.records)
    with role(conn, "engine", USAGE, f"SELECT, INSERT, UPDATE, DELETE ON {TABLES}"):
        for table in (*GUARDED, "step_audit_files"):
            for statement in (
                f"SELECT FROM {table}",
                f"INSERT INTO {table} DEFAULT VALUES",
                f"DELETE FROM {table}",
                f"TRUNCATE {table}",
                f"DROP TABLE {table}",
                f"ALTER TABLE {table} DISABLE TRIGGER ALL",
            ):
                assert_denied(conn, statement)
        for statement in (
            "SELECT * FROM seal_step_result_audit()",
            "SELECT * FROM get_step_audit_tree_head()",
            "SELECT * FROM get_step_audit_proof(gen_random_uuid(), 1)",
            "SELECT * FROM list_step_audit_leaves(0, 1)",
            "SELECT * FROM get_step_audit_status()",
            "SET session_replication_role = replica",
            f"ALTER TABLE {HOST.transitions} DISABLE TRIGGER {HOST.trigger}",
        ):
            assert_denied(conn, statement)
        world.history.record(conn, 2)
    (status,) = call(conn, HOST.audit_schema, "get_step_audit_status")
    assert status["audit_rows"] == before + 2
    assert world.verify() == []


def test_a_reader_verifies_and_proves_and_changes_nothing(world: World) -> None:
    conn, record = world.conn, world.sealed[9]
    with role(conn, "reader", *READING):
        assert world.verify() == []
        assert world.verify(world.newer, world.older) == []
        assert world.sign().splitlines()[:3] == world.newer.splitlines()[:3]
        proof = make_proof(conn, HOST.audit_schema, record.audit, world.newer, world.public_key)
        proved = verify_proof(proof, world.public_key)
        assert UUID(str(proved.leaf.audit["workflow_step_result_audit_uuid"])) == record.audit
        rows = call(conn, HOST.audit_schema, "get_step_audit_history", p_step_uuid=record.step)
        assert len(rows) > 10
        for table in GUARDED:
            for statement in (
                f"INSERT INTO {table} SELECT * FROM {table}",
                f"DELETE FROM {table}",
                f"TRUNCATE {table}",
            ):
                assert_denied(conn, statement)
        assert_denied(conn, "SELECT * FROM seal_step_result_audit()")


def test_a_sealer_seals_and_reads_nothing(world: World) -> None:
    conn = world.conn
    with role(conn, "sealer", USAGE, "EXECUTE ON FUNCTION seal_step_result_audit"):
        assert seal(conn) == 5
        for table in (*GUARDED, *HOST.tables):
            assert_denied(conn, f"SELECT FROM {table}")
        assert_denied(conn, "SELECT * FROM get_step_audit_tree_head()")
    assert world.verify() == []


def test_an_owner_without_superuser_installs_seals_and_verifies(empty: Connection) -> None:
    rights = (f"CREATE ON DATABASE {empty.info.dbname}", "ALL ON SCHEMA public")
    with role(empty, "keeper", *rights):
        world = start_world(empty, mine=True)
        grow_to_older(world)
        grow_to_newer(world)
        world.finish()
        assert world.verify() == []
        assert_denied(empty, "DELETE FROM step_audit_leaves")
        assert_denied(empty, "SET session_replication_role = replica")
        # The owner may take the guards off; that shows.
        with empty.transaction(force_rollback=True):
            empty.execute("ALTER TABLE step_audit_leaves DISABLE TRIGGER trg_append_only")
            assert [found.field for found in world.verify()] == [
                "trigger step_audit_leaves.trg_append_only"
            ]


def test_new_rights_in_the_schema_do_not_reach_the_tables_of_an_install(empty: Connection) -> None:
    with role(empty, "engine"):
        empty.execute("RESET ROLE")
        empty.execute("ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO engine")
        HOST.create(empty)
        install_audit(empty)
        empty.execute(f"GRANT {USAGE} TO engine".encode())
        empty.execute("SET ROLE engine")
        for table in GUARDED:
            assert_denied(empty, f"SELECT FROM {table}")


@pytest.mark.parametrize("hidden", [HOST.transitions, "tasker_workflow_step_result_audit"])
def test_where_rows_are_hidden_from_the_reader_nothing_is_found_but_said(
    world: World, tmp_path: Path, hidden: str
) -> None:
    conn = world.conn
    conn.execute(f"ALTER TABLE {hidden} ENABLE ROW LEVEL SECURITY".encode())
    conn.execute(f"CREATE POLICY hide ON {hidden} USING (workflow_step_uuid IS NULL)".encode())
    (tmp_path / "newer").write_text(world.newer)
    table = hidden.rpartition(".")[2]
    said = "hides rows from role reader, and what it cannot see it cannot verify"
    with role(conn, "reader", *READING):
        refusal = rf"row-level security of \w+\.{table} {said}"
        with as_auditor(conn), pytest.raises(RefusedError, match=refusal):
            verify(conn, HOST.audit_schema)
        with pytest.raises(errors.InsufficientPrivilege, match="row-level security policy"):
            conn.execute("SELECT * FROM list_step_audit_leaves(0, 9)")
        done = step_audit(
            "verify",
            *("--checkpoint", str(tmp_path / "newer"), "--public-key", world.public_key),
            *("--dsn", dsn_of(conn, user="reader")),
        )
    assert (done.code, done.out) == (3, "")
    assert said in done.err


def test_a_seal_that_could_not_see_every_result_is_not_made(world: World) -> None:
    conn = world.conn
    conn.execute(f"ALTER TABLE {HOST.transitions} ENABLE ROW LEVEL SECURITY".encode())
    with role(conn, "keeper", *READING):
        conn.execute("RESET ROLE")
        for table in GUARDED:
            conn.execute(f"ALTER TABLE {table} OWNER TO keeper".encode())
        conn.execute("ALTER FUNCTION seal_step_result_audit OWNER TO keeper")
        conn.execute("SET ROLE keeper")
        with pytest.raises(errors.InsufficientPrivilege, match="row-level security policy"):
            seal(conn)
        # So that the role can go.
        conn.execute("RESET ROLE")
        conn.execute("REASSIGN OWNED BY keeper TO postgres")
    assert seal(conn) == 5


def test_a_reader_who_may_not_read_all_is_told(world: World) -> None:
    conn = world.conn
    with (
        role(
            conn, "reader", USAGE, "SELECT ON tasker_workflow_step_result_audit, step_audit_files"
        ),
        as_auditor(conn),
        pytest.raises(RefusedError, match=r"role reader may not read .* --as auditor"),
    ):
        verify(conn, HOST.audit_schema)


def test_the_trigger_writes_what_the_seal_takes_under_any_role(world: World) -> None:
    conn = world.conn
    with connect_again(conn) as other:
        (step,) = create_steps(other)
        with role(other, "engine", USAGE, f"SELECT, INSERT ON {TABLES}"):
            insert_each(other, [Transition(step, OK, "{}", 1)])
    assert seal(conn) == 6
    assert world.verify() == []
