"""What is not step-audit's stays as it is, and gains nothing by the trigger's rights."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from psycopg import sql

from step_audit.database import Connection, call
from step_audit.setup.script import Target, enter
from step_audit.setup.sources import load_sources
from tests.support.command import psql, step_audit, succeed
from tests.support.host import (
    FAILED,
    HOST,
    OK,
    USAGE,
    Host,
    Transition,
    classic_in,
    create_steps,
    disable_own_audit,
    insert_each,
)
from tests.support.install import install_audit
from tests.support.inventory import Inventory, take_inventory
from tests.support.results import record_results
from tests.support.roles import login_roles

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


def _beside(name: str) -> str:
    return (
        f"schema public has what step-audit would create and did not: {name}{{}}"
        "Install beside it, into a schema of step-audit's own: --schema step_audit."
    )


# What an engine of the classic layout may have of its own, and how a refusal names it.
ENGINES_OWN = {
    "audit table": (
        "CREATE TABLE public.tasker_workflow_step_result_audit (task_uuid uuid)",
        "table tasker_workflow_step_result_audit",
    ),
    "trigger function": (
        "CREATE FUNCTION public.create_step_result_audit() RETURNS trigger LANGUAGE plpgsql "
        "AS $$ BEGIN RETURN NEW; END $$",
        "function create_step_result_audit",
    ),
    "another function": (
        "CREATE FUNCTION public.is_worker_result(text) RETURNS boolean LANGUAGE sql "
        "AS $$ SELECT TRUE $$",
        "function is_worker_result",
    ),
    "view": ("CREATE VIEW public.step_audits AS SELECT 1 AS one", "view step_audits"),
    "type": ("CREATE TYPE public.step_audit AS ENUM ('passed')", "type step_audit"),
}


@pytest.mark.parametrize(("statement", "name"), ENGINES_OWN.values(), ids=ENGINES_OWN)
def test_what_the_engine_calls_as_step_audit_would_is_left_alone_and_audited_beside(
    empty: Connection, statement: str, name: str
) -> None:
    engine = classic_in("public")
    engine.create(empty)
    empty.execute(statement.encode())
    before = take_inventory(empty, engine)

    for command in ("install", "install --dry-run"):
        done = step_audit(*command.split(), to=empty)
        message = _beside(name).format("; nothing was changed. ")
        assert (done.code, done.out, done.err) == (3, "", f"step-audit: {message}\n")
    script = psql(empty, succeed("sql"))
    assert script.code == 3
    assert _beside(name).format("\nHINT:  ") in script.err
    assert take_inventory(empty, engine) == before

    _audits_beside(empty, engine, before)


def test_index_that_the_engine_calls_as_step_audit_would_is_left_alone(empty: Connection) -> None:
    engine = classic_in("public")
    engine.create(empty)
    empty.execute("CREATE INDEX idx_audit_task_uuid ON public.tasker_workflow_steps (task_uuid)")
    before = take_inventory(empty, engine)
    done = step_audit("install", to=empty)
    assert (done.code, done.err) == (
        3,
        'step-audit: relation "idx_audit_task_uuid" already exists, and is not step-audit\'s; '
        "nothing was changed. Install beside it, into a schema of step-audit's own: "
        "--schema step_audit.\n",
    )
    assert take_inventory(empty, engine) == before
    _audits_beside(empty, engine, before)


def test_trigger_that_the_engine_calls_as_step_audit_would_is_left_alone(empty: Connection) -> None:
    engine = classic_in("public")
    engine.create(empty)
    empty.execute(
        f"CREATE FUNCTION public.own() RETURNS trigger LANGUAGE plpgsql "
        "AS $$ BEGIN RETURN NEW; END $$; "
        f"CREATE TRIGGER {engine.trigger} AFTER INSERT ON {engine.transitions} "
        "FOR EACH ROW EXECUTE FUNCTION public.own()".encode()
    )
    before = take_inventory(empty, engine)
    done = step_audit("install", to=empty)
    assert (done.code, done.err) == (
        3,
        "step-audit: cannot attach: tasker_workflow_step_transitions has a trigger "
        "trg_step_result_audit of another program; nothing was changed. Install beside it, into a "
        "schema of step-audit's own: --schema step_audit.\n",
    )
    assert take_inventory(empty, engine) == before
    _audits_beside(empty, engine, before)


def _audits_beside(conn: Connection, engine: Host, before: Inventory) -> None:
    """A schema of its own is the way out; all of the engine's is as before, but our triggers."""
    assert succeed("install", "--schema", "step_audit", to=conn).startswith("step-audit ")
    beside = replace(engine, audit_schema="step_audit", trigger="trg_step_audit")
    after = {
        name.removeprefix("engine's "): facts
        for name, facts in take_inventory(conn, beside).items()
        if name.startswith("engine's ")
    }
    triggers = {f"trigger {name} of {table}" for name, table in beside.our_triggers}
    assert after.keys() - before.keys() == triggers
    assert {name: facts for name, facts in after.items() if name not in triggers} == before
    recorded = record_results(conn, 2, engine)
    rows = call(conn, "step_audit", "list_step_audits")
    assert {row["workflow_step_transition_uuid"] for row in rows} == {
        transition.transition_uuid for transition in recorded
    }


def test_no_advice_is_to_drop_or_rename_what_is_the_engines() -> None:
    sources = load_sources()
    texts = [enter(sources, Target()), *(file.text for file in sources.functions)]
    hints = [hint for text in texts for hint in re.findall(r"HINT = (.*?);\n", text, re.DOTALL)]
    assert len(hints) > 9
    (problems,) = (file.text for file in sources.functions if file.name == "list_host_problems")
    remedies = re.findall(r"'(?:[^']|'')*'", problems.partition("AS $$")[2])
    assert "'Run the engine''s migrations first.'" in remedies
    for advice in hints + remedies:
        assert not re.search(r"\b(drop|rename)\b", advice, re.IGNORECASE), advice


def test_tables_of_another_engine_are_not_taken_for_those_of_the_named_one(
    empty: Connection,
) -> None:
    here, there = classic_in("public"), classic_in("there")
    here.create(empty)
    there.create(empty)
    before = take_inventory(empty, here)
    done = step_audit("install", "--schema", "public", "--engine-schema", "there", to=empty)
    assert (done.code, done.out) == (3, "")
    tables = (
        "table tasker_named_steps, table tasker_tasks, table tasker_workflow_step_transitions, "
        "table tasker_workflow_steps"
    )
    message = _beside(tables).format("; nothing was changed. ")
    assert done.err == f"step-audit: {message}\n"
    assert take_inventory(empty, here) == before


def test_function_that_another_role_has_put_in_the_place_of_ours_is_refused(
    app: Connection,
) -> None:
    install_audit(app)
    app.execute(f"DROP FUNCTION {HOST.audit_schema}.get_task_audit_history".encode())
    create_function_as_app(
        app, f"get_task_audit_history(uuid) RETURNS SETOF {HOST.audit_schema}.step_audit"
    )
    before = take_inventory(app)
    done = step_audit("install", to=app)
    assert done.code == 3
    assert "function get_task_audit_history belongs to another role; nothing was" in done.err
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
        {"sealed": 2, "tree_size": 2, "complete": True, "waiting": 0}
    ]
    app.execute("SET session_replication_role = replica")
    for table in ("_anomalies", ""):
        guarded = f"tasker_workflow_step_result_audit{table}"
        app.execute(f"ALTER TABLE {guarded} DISABLE TRIGGER trg_append_only".encode())
        app.execute(f"DELETE FROM {guarded}".encode())
    app.execute("SET session_replication_role = origin")
    assert call(
        app, HOST.audit_schema, "backfill_step_result_audit_batch", p_after=None, p_batch_size=10
    ) == [{"last_transition_uuid": None, "written": 2, "passed_over": None}]


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
    ("column", "kind", "needed"),
    [
        ("metadata", "text", "jsonb"),
        ("created_at", "date", "timestamp without time zone"),
        ("sort_key", "numeric", "integer"),
        ("from_state", "character", "varchar"),
    ],
)
def test_a_host_column_whose_type_does_not_read_as_the_needed_one_is_refused(
    host: Connection, column: str, kind: str, needed: str
) -> None:
    host.execute(
        f"ALTER TABLE {HOST.transitions} ALTER {column} DROP DEFAULT, "
        f"ALTER {column} TYPE {kind} USING NULL".encode()
    )
    before = take_inventory(host)
    done = step_audit("install", to=host)
    assert done.code == 3
    relation = HOST.relation("tasker_workflow_step_transitions")
    assert (
        f"{relation}.{column} is of type {kind}, which does not read as {needed}; nothing was "
        "changed. Run the engine's migrations first, or use the step-audit that knows this engine."
    ) in done.err
    assert take_inventory(host) == before


def test_a_host_column_whose_type_reads_as_the_needed_one_will_do(host: Connection) -> None:
    host.execute(
        f"ALTER TABLE {HOST.transitions} ALTER metadata DROP DEFAULT, ALTER metadata TYPE json, "
        "ALTER created_at TYPE timestamptz, ALTER sort_key TYPE bigint".encode()
    )
    disable_own_audit(host)
    (step,) = create_steps(host)
    succeed("install", to=host)
    good = '{"event": {"success": false, "metadata": {"execution_time_ms": 7}}}'
    insert_each(host, [Transition(step, OK, good, 1)])
    (row,) = call(host, HOST.audit_schema, "list_step_audits")
    assert (row["success"], row["execution_time_ms"]) == (False, 7)


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


def test_names_are_compared_as_they_are_whatever_the_database_quotes(host: Connection) -> None:
    database = host.info.dbname
    host.execute(f"ALTER DATABASE {database} SET quote_all_identifiers = on".encode())
    succeed("install", to=host)
    succeed("detach", to=host)
    succeed("attach", to=host)
    (status,) = call(host, HOST.audit_schema, "get_step_audit_status")
    assert (status["attached"], status["problems"]) == (True, None)
    assert call(host, HOST.audit_schema, "verify_step_audit_objects") == []


def test_a_right_that_was_passed_on_is_taken_back_with_what_hangs_on_it(conn: Connection) -> None:
    table = "tasker_workflow_step_result_audit"
    with login_roles(conn, "first", "second"):
        conn.execute(f"GRANT INSERT ON {table} TO first WITH GRANT OPTION".encode())
        conn.execute(f"GRANT {USAGE} TO first".encode())
        conn.execute("SET ROLE first")
        conn.execute(f"GRANT INSERT ON {table} TO second".encode())
        conn.execute("RESET ROLE")
        assert len(call(conn, HOST.audit_schema, "list_stray_rights")) == 2
        succeed("attach", to=conn)
        assert call(conn, HOST.audit_schema, "list_stray_rights") == []
