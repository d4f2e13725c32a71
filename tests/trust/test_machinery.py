"""What the command knows by itself of the functions that a database must have."""

from __future__ import annotations

from step_audit.database import Connection
from step_audit.setup.machinery import Namesake, compare_functions, find_altered_functions
from step_audit.setup.sources import load_sources
from tests.support.host import HOST


def test_an_install_is_as_its_files_and_a_body_kept_as_a_tree_is_not(conn: Connection) -> None:
    assert find_altered_functions(conn, HOST.audit_schema, load_sources()) == set()
    conn.execute(
        "CREATE OR REPLACE FUNCTION is_worker_result(p_to_state text) RETURNS boolean LANGUAGE sql "
        "IMMUTABLE PARALLEL SAFE "
        "RETURN p_to_state IN ('enqueued_for_orchestration', 'enqueued_as_error_for_orchestration')"
    )
    assert find_altered_functions(conn, HOST.audit_schema, load_sources()) == {
        "functions/record/is_worker_result.sql"
    }


def test_each_function_of_a_name_is_compared(conn: Connection) -> None:
    for metadata in ("json", "jsonb"):
        with conn.transaction(force_rollback=True):
            conn.execute(f"ALTER FUNCTION read_step_result(text, {metadata}) RESET ALL".encode())
            assert find_altered_functions(conn, HOST.audit_schema, load_sources()) == {
                "functions/record/read_step_result.sql"
            }


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
        "SELECT pg_get_functiondef('check_step_audit_log_size'::regproc) AS text"
    ).fetchall()
    decoy = row["text"].replace("p_tree_size bigint", "p_tree_size integer", 1)
    conn.execute(decoy.encode())
    conn.execute("COMMENT ON FUNCTION check_step_audit_log_size(integer) IS 'ours'")
    conn.execute("COMMENT ON FUNCTION check_step_audit_log_size(bigint) IS NULL")
    conn.execute(row["text"].replace("BEGIN\n", "BEGIN\n    RETURN;\n", 1).encode())
    sources = load_sources()
    assert find_altered_functions(conn, HOST.audit_schema, sources) == {
        "functions/seal/check_step_audit_log_size.sql"
    }
    compared = list(compare_functions(conn, HOST.audit_schema, sources))
    assert Namesake("check_step_audit_log_size(integer)") in compared


def test_another_type_of_result_is_named(conn: Connection) -> None:
    """With the same text and arguments, which a cascade took away and somebody made anew."""
    (row,) = conn.execute(
        "SELECT pg_get_functiondef('is_worker_result(text)'::regprocedure) AS text"
    ).fetchall()
    conn.execute("ALTER FUNCTION is_worker_result(text) RENAME TO before")
    conn.execute(row["text"].replace("RETURNS boolean", "RETURNS SETOF boolean").encode())
    (found,) = [
        each
        for each in compare_functions(conn, HOST.audit_schema, load_sources())
        if not isinstance(each, Namesake) and each.differences
    ]
    assert (found.name, found.differences) == ("is_worker_result", ("its result",))
