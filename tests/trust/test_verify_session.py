"""How verify reads: behind locks, under its own settings, with few rights, and leaving nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from threading import Event
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from step_audit.database import Connection
from step_audit.errors import RefusedError, UsageError
from step_audit.trust.verify import verify
from step_audit.trust.verify import work as verify_work
from tests.support.connect import connect_again
from tests.support.host import HOST, behind_our_back
from tests.support.postgres import MAJOR
from tests.support.results import record_results
from tests.trust.test_roles import role
from tests.trust.world import seal

ODD_SETTINGS = {
    "quote_all_identifiers": "on",
    "datestyle": "German",
    "intervalstyle": "iso_8601",
    "timezone": "Asia/Kathmandu",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "row_security": "on",
    "constraint_exclusion": "on",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "search_path": "pg_temp, elsewhere",
    "statement_timeout": "1s",
}


@pytest.fixture
def sealed(conn: Connection) -> Connection:
    record_results(conn, 6)
    seal(conn)
    record_results(conn, 2)
    return conn


def settings_of(conn: Connection) -> list[Any]:
    return conn.execute(
        "SELECT name, setting FROM pg_settings WHERE name <> 'transaction_read_only' ORDER BY name"
    ).fetchall()


@pytest.mark.parametrize("workers", [1, 2])
def test_settings_of_a_session_change_nothing_and_stay(sealed: Connection, workers: int) -> None:
    database = sql.Identifier(sealed.info.dbname)
    for name, value in ODD_SETTINGS.items():
        sealed.execute(
            sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                database,
                sql.Identifier(name),
                sql.SQL(value) if name == "search_path" else sql.Literal(value),
            )
        )
    dsn = make_conninfo(sealed.info.dsn, options="")
    with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as other:
        before = settings_of(other)
        assert {"name": "quote_all_identifiers", "setting": "on"} in before
        report = verify(other, HOST.audit_schema, workers=workers)
        assert report.findings == ()
        assert report.counts.compared == 8
        assert settings_of(other) == before
        assert other.execute("SELECT FROM pg_prepared_statements").rowcount == 0


def test_several_processes_find_the_same(sealed: Connection) -> None:
    with behind_our_back(sealed):
        sealed.execute(
            f"UPDATE {HOST.transitions} SET metadata = metadata || '{{\"note\": 1}}' "
            "WHERE to_state <> 'in_progress'".encode()
        )
    alone, together = (verify(sealed, HOST.audit_schema, workers=workers) for workers in (1, 2))
    assert alone.findings == together.findings
    assert alone.counts == together.counts
    assert {each.finding for each in alone.findings} == {"altered record"}
    assert len(alone.findings) == 6


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_dies_is_an_error(
    sealed: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_work, "result_pairs", _die)
    with pytest.raises(RefusedError, match="a process that read a part of the evidence died"):
        verify(sealed, HOST.audit_schema, workers=2)


def test_a_superuser_steps_down_and_is_told_why(sealed: Connection) -> None:
    (remark,) = verify(sealed, HOST.audit_schema).remarks
    assert remark.startswith("postgres is a superuser, so it was read as pg_read_all_data")
    with role(sealed, "auditor"):
        sealed.execute("RESET ROLE")
        sealed.execute("SELECT grant_step_audit('auditor', 'auditor')")
        sealed.execute("SET ROLE auditor")
        report = verify(sealed, HOST.audit_schema)
        assert report.findings == ()
        assert report.remarks == ()
        assert report.source.role == "auditor"
        assert report.counts.compared == 8


def test_a_login_trigger_is_told_and_sets_nothing_that_is_read(sealed: Connection) -> None:
    sealed.execute(
        "CREATE FUNCTION public.set_traps() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN "
        "SET search_path = pg_temp, public; SET datestyle = 'German'; "
        "SET timezone = 'Asia/Tokyo'; SET bytea_output = 'escape'; END $$"
    )
    create = "CREATE EVENT TRIGGER trap ON login EXECUTE FUNCTION public.set_traps()"
    if MAJOR < 17:
        with pytest.raises(psycopg.errors.SyntaxError, match="unrecognized event name"):
            sealed.execute(create)
        return
    sealed.execute(create)
    with connect_again(sealed) as caught:
        assert caught.execute("SHOW datestyle").fetchall() == [{"DateStyle": "German, DMY"}]
        report = verify(caught, HOST.audit_schema)
    assert report.findings == ()
    (remark,) = [each for each in report.remarks if "login" in each]
    assert remark.startswith("event trigger trap calls public.set_traps() at each login")


@pytest.mark.parametrize("table", [HOST.transitions, HOST.steps])
def test_keys_of_the_engine_that_are_switched_off_are_named(sealed: Connection, table: str) -> None:
    triggers = [
        row["tgname"]
        for row in sealed.execute(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass AND tgisinternal", (table,)
        ).fetchall()
    ]
    assert triggers
    for name in triggers:
        change = sql.SQL("ALTER TABLE {} {} TRIGGER {}")
        off, on = (
            change.format(sql.SQL(table), sql.SQL(word), sql.Identifier(name))
            for word in ("DISABLE", "ENABLE")
        )
        sealed.execute(off)
        (found,) = verify(sealed, HOST.audit_schema).findings
        assert (found.finding, found.stored) == ("altered object", "disabled")
        assert str(found.field).endswith(f".{name}")
        sealed.execute(on)
        assert verify(sealed, HOST.audit_schema).findings == ()


def beside(conn: Connection, change: Callable[[Connection], None], times: int) -> None:
    """Verify again and again while another session changes something; nothing is found."""
    with connect_again(conn) as other, ThreadPoolExecutor(1) as pool:
        changing = pool.submit(change, other)
        reports = [verify(conn, HOST.audit_schema) for _ in range(times)]
        changing.result()
    assert [report.findings for report in reports] == [()] * times
    assert {report.counts.compared for report in reports} == {8}


def test_migrations_of_the_engine_beside_it_are_no_findings(sealed: Connection) -> None:
    def migrate(other: Connection) -> None:
        for number in range(40):
            width = ("bigint", "integer")[number % 2]
            other.execute(
                f"ALTER TABLE {HOST.transitions} ALTER processor_version TYPE {width}".encode()
            )

    sealed.execute(f"ALTER TABLE {HOST.transitions} ADD COLUMN processor_version integer".encode())
    beside(sealed, migrate, 15)


def test_maintenance_beside_it_is_no_finding(sealed: Connection) -> None:
    audit = "tasker_workflow_step_result_audit"

    def maintain(other: Connection) -> None:
        for number in range(12):
            statement = (
                f"REINDEX TABLE CONCURRENTLY {audit}",
                f"VACUUM FULL {audit}",
                "CLUSTER step_audit_leaves USING pk_step_audit_leaf",
                f"VACUUM FULL {HOST.transitions}",
            )[number % 4]
            other.execute(statement.encode())

    beside(sealed, maintain, 15)


def test_an_index_that_is_made_anew_all_the_time_is_no_finding(sealed: Connection) -> None:
    def reindex(other: Connection) -> None:
        while not is_enough.is_set():
            other.execute("REINDEX TABLE CONCURRENTLY step_audit_seals")
            other.execute("REINDEX TABLE CONCURRENTLY step_audit_events")

    is_enough = Event()
    with connect_again(sealed) as other, ThreadPoolExecutor(1) as pool:
        reindexing = pool.submit(reindex, other)
        try:
            for _ in range(20):
                assert verify(sealed, HOST.audit_schema).findings == ()
                told = sealed.execute("SELECT field FROM verify_step_audit_objects()").fetchall()
                assert told == []
        finally:
            is_enough.set()
        reindexing.result()


def test_an_invalid_index_of_a_concurrent_build_is_no_finding(sealed: Connection) -> None:
    with connect_again(sealed) as reader, connect_again(sealed) as builder:
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT count(*) FROM tasker_workflow_step_result_audit")
        builder.execute("SET statement_timeout = '500ms'")
        with pytest.raises(Exception, match="statement timeout"):
            builder.execute("REINDEX INDEX CONCURRENTLY idx_audit_failures")
        reader.execute("COMMIT")
    (left,) = sealed.execute(
        "SELECT relname FROM pg_class WHERE relname ~ '^idx_audit_failures_cc'"
    ).fetchall()
    assert left
    assert verify(sealed, HOST.audit_schema).findings == ()


def test_a_range_of_no_time_is_refused_and_an_empty_one_said(sealed: Connection) -> None:
    early, late = datetime(2001, 1, 1), datetime(2002, 1, 1)
    for since, until in ((late, early), (early, early)):
        with pytest.raises(UsageError, match="nothing was looked at"):
            verify(sealed, HOST.audit_schema, since, until)
    report = verify(sealed, HOST.audit_schema, early, late)
    assert report.findings == ()
    assert report.counts.compared == report.counts.results == 0
    assert "any result: none lies in that range" in report.not_looked_at
    assert f"results from {early.isoformat()} to {late.isoformat()}" in list(report.lines())
