"""The audit is the same under another role, TimeZone, search_path, or with traps in the way."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from psycopg import errors, sql

from step_audit.database import Connection, call
from tests.support.host import (
    FAILED,
    HOST,
    OK,
    READING,
    USAGE,
    Step,
    Transition,
    classic_in,
    create_steps,
    disable_own_audit,
    insert_each,
)
from tests.support.install import install_audit

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
    (row,) = call(conn, HOST.audit_schema, "get_step_audit_history", p_step_uuid=step.step_uuid)
    assert (row["success"], row["worker_uuid"], row["execution_time_ms"]) == (False, WORKER, None)
    assert row["step_name"] == step.name
    age = datetime.now(UTC).replace(tzinfo=None) - row["recorded_at"]
    assert timedelta(0) <= age < timedelta(minutes=1)
    # With its schema: a test makes a temporary table of this name.
    anomalies = f"{HOST.audit_schema}.tasker_workflow_step_result_audit_anomalies"
    anomaly = conn.execute(f"SELECT field FROM {anomalies}".encode()).fetchall()
    assert anomaly == [{"field": "execution_time_ms"}]


def insert_qualified(conn: Connection, step: Step) -> None:
    conn.execute(
        f"INSERT INTO {HOST.transitions} "
        "(workflow_step_uuid, to_state, metadata, sort_key) VALUES (%s, %s, %s, 1)".encode(),
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
    disable_own_audit(conn)
    conn.execute(setting.encode())
    insert_qualified(conn, step)
    assert call(conn, HOST.audit_schema, "get_step_audit_history", p_step_uuid=step.step_uuid)
    assert_audited(conn, step)


def test_temp_tables_and_functions_of_our_names_divert_nothing(conn: Connection) -> None:
    (step,) = create_steps(conn)
    disable_own_audit(conn)
    (home, *_) = HOST.schemas
    conn.execute("CREATE SCHEMA trap")
    for table in (
        "tasker_workflow_step_result_audit",
        "tasker_workflow_step_result_audit_anomalies",
        "tasker_workflow_steps",
    ):
        conn.execute(f"CREATE TEMP TABLE {table} (LIKE {home}.{table})")
        conn.execute(f"CREATE TABLE trap.{table} (LIKE {home}.{table})")
    for schema in ("trap", "pg_temp"):
        conn.execute(
            f"CREATE FUNCTION {schema}.read_step_result(text, jsonb) RETURNS int "
            "LANGUAGE sql AS 'SELECT 1/0'"
        )
        conn.execute(
            f"CREATE FUNCTION {schema}.is_worker_result(varchar) RETURNS boolean "
            "LANGUAGE sql AS 'SELECT FALSE'"
        )
    conn.execute(f"SET search_path = pg_temp, trap, {home}".encode())
    insert_qualified(conn, step)
    assert_audited(conn, step)
    for schema in ("trap", "pg_temp"):
        found = conn.execute(f"SELECT FROM {schema}.tasker_workflow_step_result_audit").rowcount
        assert found == 0


def test_a_role_without_rights_on_the_audit_is_audited_and_cannot_touch_it(
    conn: Connection,
) -> None:
    (step,) = create_steps(conn)
    disable_own_audit(conn)
    conn.execute("DROP ROLE IF EXISTS engine")
    conn.execute("CREATE ROLE engine")
    conn.execute(f"GRANT {USAGE} TO engine".encode())
    conn.execute(f"GRANT INSERT, SELECT ON {HOST.transitions} TO engine".encode())
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
    conn.execute(f"GRANT USAGE ON SCHEMA {HOST.audit_schema} TO forger".encode())
    conn.execute("SET ROLE forger")
    conn.execute("CREATE TABLE forger.mine (workflow_step_uuid uuid, to_state text)")
    with pytest.raises(errors.InsufficientPrivilege, match="create_step_result_audit"):
        conn.execute(
            "CREATE TRIGGER forge AFTER INSERT ON forger.mine "
            f"FOR EACH ROW EXECUTE FUNCTION {HOST.audit_schema}.create_step_result_audit()".encode()
        )
    conn.execute("RESET ROLE")
    conn.execute("DROP OWNED BY forger")
    conn.execute("DROP ROLE forger")


def test_a_reader_needs_select_on_what_is_read(conn: Connection) -> None:
    (step,) = create_steps(conn)
    insert_qualified(conn, step)
    conn.execute("DROP ROLE IF EXISTS auditor")
    conn.execute("CREATE ROLE auditor")
    for right in READING:
        conn.execute(f"GRANT {right} TO auditor".encode())
    conn.execute("SET ROLE auditor")
    (row,) = call(conn, HOST.audit_schema, "get_step_audit_history", p_step_uuid=step.step_uuid)
    assert row["worker_uuid"] == WORKER
    (status,) = call(conn, HOST.audit_schema, "get_step_audit_status")
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
    engine = classic_in(schema)
    engine.create(host)
    (step,) = create_steps(host, host=engine)
    insert_each(host, [Transition(step, FAILED, "{}", 1)], host=engine)
    install_audit(host, host=engine)
    host.execute(sql.SQL("SET search_path = {}").format(name if path is None else sql.SQL(path)))
    host.execute(sql.SQL("CALL {}.backfill_step_result_audit()").format(name))
    (status,) = call(host, schema, "get_step_audit_status")
    assert (status["audit_rows"], status["unaudited"]) == (1, 0)


def test_a_batch_looks_at_no_more_transitions_than_it_is_told(host: Connection) -> None:
    steps = create_steps(host)
    insert_each(host, [Transition(steps[0], OK, "{}", number) for number in range(5)])
    install_audit(host)
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
    install_audit(host)
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
