"""What an owner lets a verification run into keeps it no longer than its user wants."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path

import pytest
from psycopg.pq import TransactionStatus

from step_audit.database import Connection
from step_audit.trust.verify import verify
from tests.install.test_signals import CODES
from tests.support.command import Done
from tests.support.connect import dsn_of
from tests.support.host import HOST
from tests.support.results import record_results
from tests.support.stopping import (
    QUERIES,
    SECONDS,
    children,
    own_group,
    started,
    stop,
    stop_group,
    wait_for,
    wait_until_gone,
)
from tests.trust.attacks import unguarded
from tests.trust.world import seal

# It runs while a query of the table is planned.
_ENDLESS = """
CREATE FUNCTION slow(integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE
AS 'BEGIN RETURN true; END';
CREATE INDEX odd ON {steps} (task_uuid) WHERE slow(1);
CREATE OR REPLACE FUNCTION slow(integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    WHILE current_setting('application_name') LIKE 'step-audit%' LOOP
        PERFORM pg_sleep(1);
    END LOOP;
    RETURN true;
END $$;
"""

# A verification whose parts are read by two processes.
_BY_TWO = """
import sys
from step_audit.database import connect
from step_audit.signals import stoppable
from step_audit.trust.verify import verify

if __name__ == "__main__":
    with stoppable(), connect(sys.argv[1]) as conn:
        verify(conn, workers=2)
"""

# A query that sends some rows, and then none for long.
_HALF_WAY = """
import sys
from psycopg import sql
from step_audit.database import connect
from step_audit.signals import stoppable
from step_audit.trust.verify.copying import copy_rows

QUERY = sql.SQL(
    "SELECT g, CASE WHEN g = 5000 THEN pg_catalog.pg_sleep(600) END "
    "FROM pg_catalog.generate_series(1, 6000) AS g"
)

with stoppable(), connect(sys.argv[1]) as conn, conn.transaction():
    for _ in copy_rows(conn, QUERY):
        pass
"""


@pytest.fixture
def endless(conn: Connection) -> Connection:
    record_results(conn, 6)
    seal(conn)
    conn.execute(_ENDLESS.format(steps=HOST.steps).encode())
    return conn


def copying(conn: Connection) -> list[str | None]:
    """What the backends of the command wait for that run what sends rows."""
    rows = conn.execute(QUERIES).fetchall()
    running = [row for row in rows if row["state"] == "active" and row["query"].startswith("COPY")]
    return [row["wait_event_type"] for row in running]


def in_transactions(conn: Connection) -> int:
    return sum(row["state"] in {"active", "idle in transaction"} for row in conn.execute(QUERIES))


def sleeps(conn: Connection) -> bool:
    return "Timeout" in copying(conn)


@pytest.mark.parametrize("number", CODES)
def test_a_signal_ends_a_verification_within_an_endless_query(
    endless: Connection, number: signal.Signals
) -> None:
    with started("verify", "--dsn", dsn_of(endless)) as process:
        wait_for(lambda: sleeps(endless), process)
        done, seconds = stop(process, number)
        assert not copying(endless)
    assert seconds < SECONDS
    told = f"step-audit: stopped by {number.name}; nothing was verified. Run it again\n"
    assert done == Done(CODES[number], "", told)


@pytest.mark.parametrize("number", CODES)
def test_a_signal_ends_the_processes_that_read_side_by_side(
    endless: Connection, number: signal.Signals, tmp_path: Path
) -> None:
    script = tmp_path / "by_two.py"
    script.write_text(_BY_TWO)
    program = (sys.executable, str(script))
    with started(dsn_of(endless), program=program, first=own_group) as process:
        wait_for(lambda: sleeps(endless) and in_transactions(endless) == 3, process)
        workers = children(process.pid)
        assert len(workers) >= 2
        done, seconds = stop_group(process, number)
        assert not copying(endless)
    assert seconds < SECONDS
    assert (done.code, done.err) == (CODES[number], "")
    wait_until_gone(workers)


def test_a_signal_ends_a_query_that_has_sent_some_rows(conn: Connection, tmp_path: Path) -> None:
    script = tmp_path / "half_way.py"
    script.write_text(_HALF_WAY)
    with started(dsn_of(conn), program=(sys.executable, str(script))) as process:
        wait_for(lambda: sleeps(conn), process)
        done, seconds = stop(process, signal.SIGTERM)
        assert not copying(conn)
    assert seconds < SECONDS
    assert (done.code, done.err) == (143, "")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("step_audit_seals ALTER tree_size TYPE text USING 'zz'", "invalid literal for int"),
        ("step_audit_leaves ALTER leaf_hash TYPE text USING 'xxzz'", "non-hexadecimal number"),
    ],
)
def test_an_error_within_rows_is_the_only_thing_said(
    conn: Connection, change: str, error: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A transaction that reads rows ends before the one around it, or psycopg would warn."""
    record_results(conn, 20)
    seal(conn)
    with conn.transaction(), unguarded(conn):
        conn.execute(f"ALTER TABLE {change}".encode())
    with caplog.at_level(logging.WARNING):
        report = verify(conn, HOST.audit_schema)
    assert "of type text" in [finding.stored for finding in report.findings]
    assert error in str(report.not_looked_at)
    assert caplog.messages == []
    assert conn.execute("SELECT 1 AS one").fetchall() == [{"one": 1}]
    assert conn.info.transaction_status == TransactionStatus.IDLE
