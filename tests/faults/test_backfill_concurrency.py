"""The backfill beside live writers, beside another backfill, and through kills."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import errors

from step_audit.database import Connection, call
from tests.support.connect import connect, connect_again
from tests.support.host import (
    FAILED,
    HOST,
    OK,
    Step,
    Transition,
    create_steps,
    insert_each,
    insert_together,
)
from tests.support.install import install_audit

RESULTS = 300


def record_past(conn: Connection, results: int = RESULTS) -> list[Step]:
    """Results from before the install, every third a failure."""
    steps = create_steps(conn, 10)
    insert_together(
        conn,
        [
            Transition(steps[n % 10], OK if n % 3 else FAILED, '{"event": {"success": true}}', n)
            for n in range(results)
        ],
    )
    return steps


def run_batch(conn: Connection, after: UUID | None, size: int) -> dict[str, Any]:
    (batch,) = call(
        conn,
        HOST.audit_schema,
        "backfill_step_result_audit_batch",
        p_after=after,
        p_batch_size=size,
    )
    return batch


def unaudited_and_total(conn: Connection) -> tuple[int, int]:
    (status,) = call(conn, HOST.audit_schema, "get_step_audit_status")
    return status["unaudited"], status["audit_rows"]


def test_two_backfills_at_once_audit_each_result_once(host: Connection) -> None:
    record_past(host)
    install_audit(host)
    start = threading.Barrier(2)

    def run(_: int) -> None:
        with connect_again(host) as conn:
            start.wait()
            conn.execute("CALL backfill_step_result_audit(7)")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, range(2)))
    assert unaudited_and_total(host) == (0, RESULTS)


def test_live_writers_beside_the_backfill_lose_and_double_nothing(host: Connection) -> None:
    steps = record_past(host)
    install_audit(host)
    written = 100
    start = threading.Barrier(3)

    def write(writer: int) -> None:
        with connect_again(host) as conn:
            start.wait()
            for n in range(written):
                key = RESULTS + n * 2 + writer
                insert_each(conn, [Transition(steps[n % 10], OK, "{}", key)])

    def backfill() -> None:
        with connect_again(host) as conn:
            start.wait()
            conn.execute("CALL backfill_step_result_audit(3)")

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(write, 0), pool.submit(write, 1), pool.submit(backfill)]:
            done.result()
    assert unaudited_and_total(host) == (0, RESULTS + 2 * written)
    backfilled = host.execute(
        "SELECT count(*) AS n FROM tasker_workflow_step_result_audit WHERE backfilled"
    ).fetchone()
    assert backfilled == {"n": RESULTS}


def test_a_writer_never_waits_for_the_backfill(host: Connection) -> None:
    steps = record_past(host)
    install_audit(host)
    with connect_again(host) as other, other.transaction():
        run_batch(other, None, RESULTS)
        host.execute("SET lock_timeout = '1s'")
        insert_each(host, [Transition(steps[0], OK, "{}", RESULTS)])
        host.execute(f"UPDATE {HOST.transitions} SET most_recent = FALSE".encode())
    assert unaudited_and_total(host) == (0, RESULTS + 1)


def test_a_result_written_while_a_backfill_is_open_is_audited_once(host: Connection) -> None:
    steps = record_past(host)
    install_audit(host)
    with connect_again(host) as writer, writer.transaction():
        insert_each(writer, [Transition(steps[0], OK, "{}", RESULTS)])
        host.execute("CALL backfill_step_result_audit(50)")
        assert unaudited_and_total(host) == (0, RESULTS)
    assert unaudited_and_total(host) == (0, RESULTS + 1)


def test_backfill_after_its_backend_is_killed_resumes_without_duplicates(host: Connection) -> None:
    record_past(host)
    install_audit(host)

    def run_until_killed(conn: Connection) -> None:
        # It pauses for an hour after its first batch: it dies there, between two batches.
        with pytest.raises(errors.AdminShutdown):
            conn.execute("CALL backfill_step_result_audit(20, '1 hour')")

    with ThreadPoolExecutor(1) as pool:
        victim = connect_again(host)
        killed = pool.submit(run_until_killed, victim)
        wait_until(lambda: unaudited_and_total(host)[1] > 0)
        host.execute("SELECT pg_terminate_backend(%s)", (victim.info.backend_pid,))
        killed.result()
        victim.close()
    unaudited, total = unaudited_and_total(host)
    assert 0 < total < RESULTS
    assert unaudited == RESULTS - total
    host.execute("CALL backfill_step_result_audit(20)")
    assert unaudited_and_total(host) == (0, RESULTS)


def test_backfill_after_the_server_is_killed_resumes_without_duplicates(new_server: Any) -> None:
    server = new_server()
    with connect(server.dsn()) as conn:
        HOST.create(conn)
        record_past(conn)
        install_audit(conn)
        batch = run_batch(conn, None, 50)
        conn.execute("BEGIN")
        run_batch(conn, batch["last_transition_uuid"], 50)
        server.stop("immediate")
        with pytest.raises(psycopg.OperationalError):
            conn.commit()
    server.start()
    with connect(server.dsn()) as conn:
        assert unaudited_and_total(conn) == (RESULTS - batch["written"], batch["written"])
        conn.execute("CALL backfill_step_result_audit(50)")
        assert unaudited_and_total(conn) == (0, RESULTS)


def wait_until(condition: Callable[[], bool]) -> None:
    """Poll, for at most half a minute."""
    pause = threading.Event()
    for _ in range(3000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it did not happen within 30 seconds")
