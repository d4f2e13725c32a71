"""What around the audit keeps it from its work: ``status``, ``install`` and ``verify`` say so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from step_audit.database import Connection
from step_audit.trust.verify import verify
from tests.support.command import status_of, succeed
from tests.support.host import HOST, USAGE

WRITER = "results_writer"


@pytest.fixture
def writer(conn: Connection) -> Iterator[str]:
    """A role that may write results, as the engine's does."""
    conn.execute(
        f"CREATE ROLE {WRITER} LOGIN; GRANT INSERT ON {HOST.transitions} TO {WRITER}".encode()
    )
    yield WRITER
    conn.execute(f"DROP OWNED BY {WRITER}; DROP ROLE {WRITER}".encode())


def problems(conn: Connection) -> tuple[list[str] | None, bool]:
    found = status_of(conn)
    return found["problems"], found["attached"]


@pytest.mark.parametrize(
    "which", ["DATABASE {database}", "ROLE {role}", "ROLE {role} IN DATABASE {database}"]
)
def test_a_setting_that_silences_the_trigger(conn: Connection, writer: str, which: str) -> None:
    whose = which.format(database=conn.info.dbname, role=writer)
    conn.execute(f"ALTER {whose} SET session_replication_role = 'Replica'".encode())
    problem = (
        f"session_replication_role is replica for {whose}, so that the trigger does not fire: "
        f"ALTER {whose} RESET session_replication_role"
    )
    assert problems(conn) == ([problem], False)
    assert f"note: {problem}\n" in succeed("install", to=conn)
    found = [each.field for each in verify(conn, HOST.audit_schema).findings]
    told = which.replace("ROLE", "role").replace("DATABASE", "database").replace("IN", "in")
    told = told.format(database=conn.info.dbname, role=writer)
    assert found == [f"setting session_replication_role of {told}"]

    conn.execute(f"ALTER {whose} RESET session_replication_role".encode())
    assert problems(conn) == (None, True)
    assert verify(conn, HOST.audit_schema).findings == ()


def test_a_setting_of_a_role_that_writes_no_results_is_none(conn: Connection, writer: str) -> None:
    conn.execute(f"REVOKE INSERT ON {HOST.transitions} FROM {writer}".encode())
    conn.execute(f"ALTER ROLE {writer} SET session_replication_role = replica".encode())
    assert problems(conn) == (None, True)
    assert verify(conn, HOST.audit_schema).findings == ()


def test_row_level_security_that_hides_rows_from_an_auditor(conn: Connection, writer: str) -> None:
    conn.execute(f"ALTER TABLE {HOST.steps} ENABLE ROW LEVEL SECURITY".encode())
    assert problems(conn) == (None, True)
    succeed("grant", writer, "--as", "reader", to=conn)
    assert problems(conn) == (None, True)
    succeed("grant", writer, "--as", "auditor", to=conn)
    conn.execute(f"GRANT {USAGE} TO {writer}".encode())
    found, attached = problems(conn)
    assert found
    assert attached
    (problem,) = found
    assert problem.endswith(
        f" hides rows from {writer}, whose step-audit verify is refused: ALTER ROLE {writer} "
        "BYPASSRLS, or verify as postgres"
    )
    assert HOST.relation("tasker_workflow_steps") in problem
    conn.execute(f"ALTER ROLE {writer} BYPASSRLS".encode())
    assert problems(conn) == (None, True)


def test_a_trigger_of_the_engines_that_changes_what_an_update_does_not_name(
    conn: Connection,
) -> None:
    conn.execute(
        f"CREATE FUNCTION {HOST.schema}.improve() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN NEW.metadata = '{}'; RETURN NEW; END $$; "
        f"CREATE TRIGGER improve BEFORE UPDATE ON {HOST.transitions} FOR EACH ROW "
        f"EXECUTE FUNCTION {HOST.schema}.improve()".encode()
    )
    found, attached = problems(conn)
    assert attached
    assert found
    (problem,) = found
    assert problem.startswith("trigger improve of ")
    assert f"note: {problem}\n" in succeed("install", to=conn)
    conn.execute(f"DROP TRIGGER improve ON {HOST.transitions}".encode())
    assert problems(conn) == (None, True)
