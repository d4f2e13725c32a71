"""What the command knows by itself of the functions that a database must have."""

from __future__ import annotations

import hashlib

from step_audit.database import Connection
from step_audit.setup.machinery import BOUND_BODIES, find_altered_functions, list_overloads
from step_audit.setup.sources import load_sources
from tests.support.host import HOST


def test_the_bound_bodies_are_those_of_an_install(conn: Connection) -> None:
    rows = conn.execute(
        "SELECT proname AS name, pg_get_function_sqlbody(oid) AS body FROM pg_proc "
        "WHERE pronamespace = %s::regnamespace AND prosqlbody IS NOT NULL",
        (HOST.audit_schema,),
    ).fetchall()
    assert {row["name"]: hashlib.sha256(row["body"].encode()).hexdigest() for row in rows} == (
        BOUND_BODIES
    )


def test_a_database_that_noted_nothing_is_compared_all_the_same(conn: Connection) -> None:
    """What an attacker deletes from the notes does not hide what he changed."""
    conn.execute("ALTER FUNCTION list_step_audit_leaves SET search_path = elsewhere")
    conn.execute("DELETE FROM step_audit_files")
    assert find_altered_functions(conn, HOST.audit_schema, load_sources()) == {
        "functions/seal/list_step_audit_leaves.sql"
    }


def test_a_decoy_with_other_arguments_hides_nothing(conn: Connection) -> None:
    """The true function is altered and loses its comment; another has text and comment of it."""
    (row,) = conn.execute(
        "SELECT pg_get_functiondef('verify_step_audit_log'::regproc) AS text"
    ).fetchall()
    decoy = row["text"].replace("p_first bigint", "p_first integer", 1)
    conn.execute(decoy.encode())
    conn.execute("COMMENT ON FUNCTION verify_step_audit_log(integer, bigint) IS 'ours'")
    conn.execute("COMMENT ON FUNCTION verify_step_audit_log(bigint, bigint) IS NULL")
    conn.execute(row["text"].replace("BEGIN\n", "BEGIN\n    RETURN;\n", 1).encode())
    sources = load_sources()
    assert find_altered_functions(conn, HOST.audit_schema, sources) == {
        "functions/seal/verify_step_audit_log.sql"
    }
    assert "verify_step_audit_log(p_first integer, p_until bigint)" in list_overloads(
        conn, HOST.audit_schema, sources
    )
