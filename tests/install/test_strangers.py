"""A role that may create objects in the engine's schema gains nothing by the trigger's rights."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from psycopg import sql

from step_audit.database import Connection, call
from tests.support.command import psql, step_audit, succeed
from tests.support.host import (
    FAILED,
    HOST,
    OK,
    USAGE,
    Transition,
    classic_in,
    create_steps,
    insert_each,
)
from tests.support.install import install_audit
from tests.support.inventory import take_inventory

HOME = sql.Identifier(HOST.audit_schema)


@pytest.fixture
def app(host: Connection) -> Iterator[Connection]:
    """The host's database, where role app may create objects and write transitions."""
    host.execute("DROP ROLE IF EXISTS app")
    host.execute("CREATE ROLE app")
    host.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(HOME))
    host.execute(f"GRANT {USAGE} TO app".encode())
    host.execute(f"GRANT CREATE ON SCHEMA {', '.join(HOST.schemas)} TO app".encode())
    host.execute(f"GRANT SELECT, INSERT ON {', '.join(HOST.tables)} TO app".encode())
    yield host
    host.execute("RESET ROLE")
    host.execute("DROP OWNED BY app CASCADE")
    host.execute("DROP ROLE app")


def create_function_as_app(conn: Connection, signature: str) -> None:
    conn.execute("SET ROLE app")
    conn.execute(
        f"CREATE FUNCTION {HOST.audit_schema}.{signature} LANGUAGE plpgsql "
        "AS $$ BEGIN RAISE EXCEPTION 'diverted'; END $$"
    )
    conn.execute("RESET ROLE")


def test_install_refuses_functions_of_its_names_that_were_there_before(app: Connection) -> None:
    create_function_as_app(app, "is_worker_result(p_to_state text) RETURNS boolean")
    before = take_inventory(app)
    done = step_audit("install", to=app)
    assert done.code == 3
    assert "belong to another role: is_worker_result; nothing was changed" in done.err
    assert take_inventory(app) == before


def test_the_script_refuses_a_function_that_another_role_owns(app: Connection) -> None:
    create_function_as_app(app, "is_worker_result(p_to_state text) RETURNS boolean")
    before = take_inventory(app)
    done = psql(app, succeed("sql", "--schema", HOST.audit_schema))
    assert done.code != 0
    assert "function is_worker_result(text) belongs to another role" in done.err
    assert take_inventory(app) == before


def test_overloads_and_operators_in_the_schema_are_never_called(app: Connection) -> None:
    steps = create_steps(app, 2)
    install_audit(app)
    for signature in (
        "is_worker_result(varchar) RETURNS boolean",
        "read_step_result(varchar, jsonb) RETURNS integer",
        "protect_json_escapes(varchar) RETURNS text",
        "drop_event_result(varchar) RETURNS text",
        "read_odd_step_result(varchar, jsonb) RETURNS integer",
        "read_odd_event(varchar) RETURNS integer",
        "format(text, uuid) RETURNS text",
        "num_nonnulls(text, text, text, text, text) RETURNS integer",
        "coalesce_trap(jsonb, jsonb) RETURNS jsonb",
        "trap(jsonb, jsonb) RETURNS jsonb",
        "trap(json, json) RETURNS json",
        "trap(numeric, integer) RETURNS boolean",
        "jsonb_build_object(text, text, text, text, text, text) RETURNS jsonb",
        "jsonb_typeof(json) RETURNS text",
        "replace(text, varchar, varchar) RETURNS text",
        "left(text, bigint) RETURNS text",
        "round(bigint) RETURNS numeric",
        "sha256(text) RETURNS bytea",
        "convert_to(text, text) RETURNS bytea",
        "format(text, bigint, oid) RETURNS text",
        "length(text) RETURNS integer",
        "pg_visible_in_snapshot(text, pg_snapshot) RETURNS boolean",
        "compute_merkle_root(text) RETURNS bytea",
        "compute_step_audit_subtrees(bigint, bigint, bigint) RETURNS integer",
    ):
        create_function_as_app(app, signature)
    app.execute("SET ROLE app")
    for operator in ("->", "->>", "#>>", "||"):
        for kind in ("jsonb", "json"):
            if (operator, kind) != ("||", "jsonb"):
                app.execute(
                    sql.SQL(
                        "CREATE OPERATOR {home}.{} (FUNCTION = trap, LEFTARG = {k}, RIGHTARG = {k})"
                    ).format(sql.SQL(operator), k=sql.SQL(kind), home=HOME)
                )
    for operator in ("<", "*"):
        app.execute(
            sql.SQL(
                "CREATE OPERATOR {home}.{} (FUNCTION = trap, LEFTARG = numeric, RIGHTARG = integer)"
            ).format(sql.SQL(operator), home=HOME)
        )
    bad = '{"event": "{\\"success\\": 7, \\"x\\": \\"\\\\u0000\\"}", "worker_uuid": "x"}'
    good = '{"event": {"data": {"success": false, "metadata": {"execution_time_ms": "2.5"}}}}'
    insert_each(app, [Transition(steps[0], OK, bad, 1), Transition(steps[1], FAILED, good, 1)])
    app.execute("RESET ROLE")
    rows = call(app, HOST.audit_schema, "list_step_audits")
    assert [(row["success"], row["execution_time_ms"]) for row in rows] == [
        (False, 3),
        (True, None),
    ]
    assert call(app, HOST.audit_schema, "seal_step_result_audit") == [
        {"sealed": 2, "tree_size": 2, "complete": True}
    ]
    app.execute("SET session_replication_role = replica")
    for table in ("_anomalies", ""):
        guarded = f"tasker_workflow_step_result_audit{table}"
        app.execute(f"ALTER TABLE {guarded} DISABLE TRIGGER trg_append_only".encode())
        app.execute(f"DELETE FROM {guarded}".encode())
    app.execute("SET session_replication_role = origin")
    assert call(
        app, HOST.audit_schema, "backfill_step_result_audit_batch", p_after=None, p_batch_size=10
    ) == [{"last_transition_uuid": None, "written": 2}]


def test_default_privileges_give_nobody_a_right_on_the_audit(app: Connection) -> None:
    defaults = f"ALTER DEFAULT PRIVILEGES IN SCHEMA {HOST.audit_schema}"
    app.execute(f"{defaults} GRANT ALL ON TABLES TO app, PUBLIC".encode())
    install_audit(app)
    rights = app.execute(
        "SELECT count(*) AS n FROM unnest(ARRAY['tasker_workflow_step_result_audit', "
        "'tasker_workflow_step_result_audit_anomalies', 'step_audit_files']) AS t, "
        "unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS r "
        "WHERE has_table_privilege('app', t, r)"
    ).fetchone()
    assert rights == {"n": 0}
    app.execute(f"{defaults} REVOKE ALL ON TABLES FROM app, PUBLIC".encode())


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (
            f"ALTER TABLE {HOST.transitions} ALTER metadata DROP DEFAULT, ALTER metadata TYPE json",
            "workflow_step_transitions.metadata of type jsonb (it is json)",
        ),
        (
            f"ALTER TABLE {HOST.transitions} ALTER created_at DROP DEFAULT, "
            "ALTER created_at TYPE timestamptz",
            "workflow_step_transitions.created_at of type timestamp without time zone "
            "(it is timestamp with time zone)",
        ),
    ],
)
def test_a_host_column_of_another_type_is_refused(
    host: Connection, change: str, wrong: str
) -> None:
    host.execute(change.encode())
    done = step_audit("install", to=host)
    assert done.code == 3
    assert wrong in done.err


def test_after_its_schema_was_renamed_an_install_repairs_the_audit(empty: Connection) -> None:
    before, after = classic_in("before"), classic_in("after")
    before.create(empty)
    (step,) = create_steps(empty, host=before)
    install_audit(empty, host=before)
    empty.execute("ALTER SCHEMA before RENAME TO after")
    assert install_audit(empty, host=after)
    insert_each(empty, [Transition(step, OK, "{}", 1)], host=after)
    (row,) = call(empty, "after", "list_step_audits")
    assert row["success"]
