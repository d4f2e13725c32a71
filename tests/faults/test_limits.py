"""Settings that a role or database has for its applications do not reach our commands."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from psycopg.rows import tuple_row

from step_audit.database import Connection, connect, transaction
from tests.faults.test_backfill_concurrency import wait_until
from tests.support.command import step_audit
from tests.support.results import record_results

LIMITS = ["statement_timeout", "idle_in_transaction_session_timeout", "transaction_timeout"]


@pytest.fixture
def limits(conn: Connection) -> list[str]:
    """Time limits of a second in the database, those that the server knows; and its isolation."""
    known = [limit for limit in LIMITS if limit[0] != "t" or conn.info.server_version >= 170000]
    values = dict.fromkeys(known, "1s") | {"default_transaction_isolation": "serializable"}
    for name, value in values.items():
        database = conn.info.dbname
        conn.execute(f"ALTER DATABASE {database} SET {name} = '{value}'".encode())
    return known


def test_commands_that_have_to_wait_are_not_cut_short(conn: Connection, limits: list[str]) -> None:
    step = record_results(conn, 1)[0].step.step_uuid
    commands = [["status"], ["backfill"], ["seal"], ["verify"], ["history", str(step)]]
    waiting = (
        "SELECT FROM pg_stat_activity WHERE datname = current_database() "
        "AND wait_event_type = 'Lock' AND clock_timestamp() - query_start > '1500 ms'"
    )
    with ThreadPoolExecutor(len(commands)) as pool, connect(conn.info.dsn) as other:
        # This connection is older than the limits.
        with conn.transaction():
            conn.execute("LOCK TABLE tasker_workflow_step_result_audit")
            runs = [pool.submit(step_audit, *command, to=conn) for command in commands]
            wait_until(lambda: other.execute(waiting).rowcount == len(commands))
        for command, run in zip(commands, runs, strict=True):
            assert (run.result().code, run.result().err) == (0, ""), command


def test_a_transaction_of_ours_has_no_limit_and_the_session_keeps_its_own(
    conn: Connection, limits: list[str]
) -> None:
    asked = [f"current_setting('{name}')" for name in (*limits, "transaction_isolation")]
    query = f"SELECT {', '.join(asked)}".encode()
    with connect(conn.info.dsn) as ours, ours.cursor(row_factory=tuple_row) as cursor:
        kept = cursor.execute(query).fetchone()
        assert kept == ("1s",) * len(limits) + ("serializable",)
        with transaction(ours):
            pinned = cursor.execute(query).fetchone()
            with transaction(ours):
                assert cursor.execute(query).fetchone() == pinned
        assert pinned == ("0",) * len(limits) + ("read committed",)
        assert cursor.execute(query).fetchone() == kept
