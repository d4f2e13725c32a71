"""What an uninstall removes, what it keeps, and that it asks first."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from step_audit.database import Connection
from tests.support.audit import audit_rows, expected_rows
from tests.support.command import step_audit, succeed
from tests.support.host import HOST
from tests.support.inventory import list_audit_objects, take_inventory, take_row_versions
from tests.support.results import record_results


def test_uninstall_keeps_the_rows_and_a_later_install_goes_on_with_them(conn: Connection) -> None:
    before = take_inventory(conn)
    recorded = record_results(conn, 3)
    rows = audit_rows(conn)
    printed = succeed("uninstall", "--yes", to=conn)
    assert printed == f"step-audit uninstalled from schema {HOST.audit_schema}, audit rows kept\n"
    kept = list_audit_objects(conn)
    assert not any(re.match("(engine's )?(function|trigger) ", name) for name in kept)
    assert "table tasker_workflow_step_result_audit" in kept
    assert audit_rows(conn) == rows == expected_rows(recorded)

    unaudited = record_results(conn, 2)
    assert "backfill: 2 audit rows in " in succeed("install", to=conn)
    assert take_inventory(conn) == before
    assert audit_rows(conn) == rows | expected_rows(unaudited, backfilled=True)


def test_uninstall_with_the_data_leaves_nothing(host: Connection) -> None:
    before = take_inventory(host)
    succeed("install", to=host)
    record_results(host, 2)
    printed = succeed("uninstall", "--yes", "--drop-data", to=host)
    assert printed == (
        f"step-audit uninstalled from schema {HOST.audit_schema}, audit rows dropped\n"
    )
    assert take_inventory(host) == before
    assert _has_schema(host, HOST.audit_schema) is (HOST.audit_schema == HOST.schema)
    record_results(host, 2)


@pytest.mark.parametrize("is_ours", [True, False])
def test_uninstall_with_the_data_drops_the_schema_if_it_was_made_for_that(
    host: Connection, is_ours: bool
) -> None:
    if not is_ours:
        host.execute("CREATE SCHEMA audit")
    succeed("install", "--schema", "audit", to=host)
    assert _has_schema(host, "audit")
    succeed("uninstall", "--yes", to=host)
    assert _has_schema(host, "audit")
    succeed("install", "--schema", "audit", to=host)
    succeed("uninstall", "--yes", "--drop-data", to=host)
    assert _has_schema(host, "audit") is not is_ours


def test_uninstall_with_the_data_keeps_what_others_have_in_the_schema(host: Connection) -> None:
    succeed("install", "--schema", "audit", to=host)
    host.execute("CREATE VIEW audit.note AS SELECT 1 AS one")
    host.execute(
        "CREATE FUNCTION audit.is_worker_result(date) RETURNS boolean LANGUAGE sql "
        "AS $$ SELECT TRUE $$"
    )
    succeed("uninstall", "--yes", "--drop-data", to=host)
    left = replace(HOST, audit_schema="audit")
    assert {name for name in take_inventory(host, left) if not name.startswith("engine's ")} == {
        "table note",
        "column note.one",
        "function is_worker_result(date)",
    }


def _has_schema(conn: Connection, schema: str) -> bool:
    return bool(conn.execute("SELECT FROM pg_namespace WHERE nspname = %s", (schema,)).fetchall())


def test_uninstall_asks_what_it_may_do(conn: Connection) -> None:
    database = conn.info.dbname
    before = take_row_versions(conn)
    for answer in ("n\n", "\n", ""):
        done = step_audit("uninstall", to=conn, stdin=answer)
        assert (done.code, done.err) == (1, "step-audit: aborted\n")
        assert done.out.rstrip() == (
            "Remove trigger and functions and keep the audit rows in schema "
            f"{HOST.audit_schema} of database {database}? [y/N]:"
        )
    done = step_audit("uninstall", "--drop-data", to=conn, stdin="n\n")
    assert f"DROP ALL AUDIT ROWS in schema {HOST.audit_schema}" in done.out
    assert take_row_versions(conn) == before


def test_uninstall_does_what_was_agreed_to(conn: Connection) -> None:
    done = step_audit("uninstall", to=conn, stdin="y\n")
    assert (done.code, done.err) == (0, "")
    uninstalled = f"step-audit uninstalled from schema {HOST.audit_schema}, audit rows kept\n"
    assert done.out.endswith(uninstalled)
    assert not any(name.startswith("function") for name in take_inventory(conn))


def test_uninstall_where_the_engines_tables_are_gone(conn: Connection) -> None:
    conn.execute(f"DROP TABLE {HOST.transitions} CASCADE".encode())
    succeed("uninstall", "--yes", "--drop-data", to=conn)
    assert list_audit_objects(conn) == set()
