"""The audit is the same under another role, TimeZone, search_path, or with traps in the way."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import errors, sql
from psycopg.rows import dict_row

from step_audit.database import Connection, call
from step_audit.setup.installer import install
from step_audit.setup.sources import load_sources
from tests.support.host import FAILED, OK, Step, Transition, create_host, create_steps, insert_each

WORKER = uuid.UUID(int=7)
METADATA = json.dumps(
    {
        "event": '{"data": {"success": "no", "metadata": {"execution_time_ms": "bad"}}}',
        "worker_uuid": str(WORKER),
    }
)


def assert_audited(conn: Connection, step: Step) -> None:
    """The one result of ``METADATA`` is audited right, whatever the session's settings."""
    conn.execute("RESET ALL")
    (row,) = call(conn, "public", "get_step_audit_history", p_step_uuid=step.step_uuid)
    assert (row["success"], row["worker_uuid"], row["execution_time_ms"]) == (False, WORKER, None)
    assert row["step_name"] == step.name
    age = datetime.now(UTC).replace(tzinfo=None) - row["recorded_at"]
    assert timedelta(0) <= age < timedelta(minutes=1)
    anomaly = conn.execute(
        "SELECT field FROM public.tasker_workflow_step_result_audit_anomalies"
    ).fetchall()
    assert anomaly == [{"field": "execution_time_ms"}]


def insert_qualified(conn: Connection, step: Step) -> None:
    conn.execute(
        "INSERT INTO public.tasker_workflow_step_transitions "
        "(workflow_step_uuid, to_state, metadata, sort_key) VALUES (%s, %s, %s, 1)",
        (step.step_uuid, OK, METADATA),
    )


@pytest.mark.parametrize(
    "setting",
    [
        "SET timezone = 'America/New_York'",
        "SET timezone = 'Pacific/Kiritimati'",
        "SET search_path = ''",
        "SET search_path = pg_temp, pg_catalog",
        "SET datestyle = 'German, DMY'",
        "SET standard_conforming_strings = off",
        "SET default_transaction_isolation = 'serializable'",
        "SET plan_cache_mode = 'force_generic_plan'",
        "SET check_function_bodies = off",
    ],
)
def test_a_result_is_audited_alike_under(conn: Connection, setting: str) -> None:
    (step,) = create_steps(conn)
    conn.execute(setting.encode())
    insert_qualified(conn, step)
    conn.execute("SELECT * FROM public.get_step_audit_history(%s)", (step.step_uuid,)).fetchall()
    assert_audited(conn, step)


def test_temp_tables_and_functions_of_our_names_divert_nothing(conn: Connection) -> None:
    (step,) = create_steps(conn)
    conn.execute("CREATE SCHEMA trap")
    for table in (
        "tasker_workflow_step_result_audit",
        "tasker_workflow_step_result_audit_anomalies",
        "tasker_workflow_steps",
    ):
        conn.execute(f"CREATE TEMP TABLE {table} (LIKE public.{table})")
        conn.execute(f"CREATE TABLE trap.{table} (LIKE public.{table})")
    for schema in ("trap", "pg_temp"):
        conn.execute(
            f"CREATE FUNCTION {schema}.read_step_result(text, jsonb) RETURNS int "
            "LANGUAGE sql AS 'SELECT 1/0'"
        )
        conn.execute(
            f"CREATE FUNCTION {schema}.is_worker_result(varchar) RETURNS boolean "
            "LANGUAGE sql AS 'SELECT FALSE'"
        )
    conn.execute("SET search_path = pg_temp, trap, public")
    insert_qualified(conn, step)
    assert_audited(conn, step)
    for schema in ("trap", "pg_temp"):
        found = conn.execute(f"SELECT FROM {schema}.tasker_workflow_step_result_audit").rowcount
        assert found == 0


def test_a_role_without_rights_on_the_audit_is_audited_and_cannot_touch_it(
    conn: Connection,
) -> None:
    (step,) = create_steps(conn)
    conn.execute("DROP ROLE IF EXISTS engine")
    conn.execute("CREATE ROLE engine")
    conn.execute("GRANT INSERT, SELECT ON tasker_workflow_step_transitions TO engine")
    conn.execute("SET ROLE engine")
    insert_qualified(conn, step)
    for statement in (
        "SELECT FROM tasker_workflow_step_result_audit",
        "DELETE FROM tasker_workflow_step_result_audit",
        "INSERT INTO tasker_workflow_step_result_audit_anomalies DEFAULT VALUES",
        "SELECT * FROM list_step_audits()",
        "SELECT * FROM backfill_step_result_audit_batch(NULL, 1)",
        "SELECT uninstall_step_result_audit()",
        "SELECT FROM step_audit_files",
    ):
        with pytest.raises(errors.InsufficientPrivilege):
            conn.execute(statement.encode())
    conn.execute("RESET ROLE")
    assert_audited(conn, step)
    conn.execute("DROP OWNED BY engine")
    conn.execute("DROP ROLE engine")


def test_nobody_can_forge_audit_rows_with_the_trigger_function(conn: Connection) -> None:
    conn.execute("DROP ROLE IF EXISTS forger")
    conn.execute("CREATE ROLE forger")
    conn.execute("CREATE SCHEMA AUTHORIZATION forger")
    conn.execute("SET ROLE forger")
    conn.execute("CREATE TABLE forger.mine (workflow_step_uuid uuid, to_state text)")
    with pytest.raises(errors.InsufficientPrivilege, match="create_step_result_audit"):
        conn.execute(
            "CREATE TRIGGER forge AFTER INSERT ON forger.mine "
            "FOR EACH ROW EXECUTE FUNCTION public.create_step_result_audit()"
        )
    conn.execute("RESET ROLE")
    conn.execute("DROP OWNED BY forger")
    conn.execute("DROP ROLE forger")


def test_a_reader_needs_select_on_what_is_read(conn: Connection) -> None:
    (step,) = create_steps(conn)
    insert_qualified(conn, step)
    conn.execute("DROP ROLE IF EXISTS auditor")
    conn.execute("CREATE ROLE auditor")
    conn.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO auditor")
    conn.execute("SET ROLE auditor")
    (row,) = call(conn, "public", "get_step_audit_history", p_step_uuid=step.step_uuid)
    assert row["worker_uuid"] == WORKER
    (status,) = call(conn, "public", "get_step_audit_status")
    assert (status["audit_rows"], status["anomalies"]) == (1, 1)
    conn.execute("RESET ROLE")
    conn.execute("DROP OWNED BY auditor")
    conn.execute("DROP ROLE auditor")


@pytest.mark.parametrize("schema", ["engine", "My Schema", 'quo"te', "ünïcode"])
@pytest.mark.parametrize("path", ["''", "pg_catalog", None], ids=["none", "catalog", "own"])
def test_the_backfill_procedure_finds_its_schema(
    host: Connection, schema: str, path: str | None
) -> None:
    name = sql.Identifier(schema)
    host.execute(sql.SQL("CREATE SCHEMA {}").format(name))
    host.execute(sql.SQL("SET search_path = {}").format(name))
    create_host(host)
    insert_each(host, [Transition(create_steps(host)[0], FAILED, "{}", 1)])
    with psycopg.connect(host.info.dsn, autocommit=True, row_factory=dict_row) as other:
        install(other, load_sources(), schema, "5s")
    if path is not None:
        host.execute(f"SET search_path = {path}")
    host.execute(sql.SQL("CALL {}.backfill_step_result_audit()").format(name))
    (status,) = call(host, schema, "get_step_audit_status")
    assert (status["audit_rows"], status["unaudited"]) == (1, 0)


def test_a_batch_looks_at_no_more_transitions_than_it_is_told(host: Connection) -> None:
    steps = create_steps(host)
    insert_each(host, [Transition(steps[0], OK, "{}", number) for number in range(5)])
    install(host, load_sources(), "public", "5s")
    written = []
    last = None
    while True:
        row = host.execute(
            "SELECT * FROM backfill_step_result_audit_batch(%s, 2)", (last,)
        ).fetchone()
        assert row is not None
        written.append(row["written"])
        last = row["last_transition_uuid"]
        if last is None:
            break
    assert written == [2, 2, 1]


def test_the_backfill_procedure_says_what_it_wrote_and_refuses_nonsense(host: Connection) -> None:
    steps = create_steps(host)
    insert_each(host, [Transition(steps[0], OK, "{}", number) for number in range(5)])
    install(host, load_sources(), "public", "5s")
    notices: list[str | None] = []
    host.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    host.execute("CALL backfill_step_result_audit(2)")
    assert notices == ["backfill complete: 5 audit rows written"]
    for size in ("0", "-1", "NULL"):
        with pytest.raises(errors.InvalidParameterValue, match=f"at least 1, not {size}"):
            host.execute(f"CALL backfill_step_result_audit({size})")
    with (
        pytest.raises(errors.InvalidTransactionTermination),
        host.transaction(),
    ):
        host.execute("CALL backfill_step_result_audit()")
