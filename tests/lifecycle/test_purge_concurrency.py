"""A purge beside holds, writers, readers and other purges."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import errors

from step_audit import patience
from step_audit.database import Connection, call
from step_audit.trust.purge import Purged, run_purge
from tests.lifecycle.test_changes import engine, run  # noqa: F401 (a fixture)
from tests.lifecycle.test_purge import (
    AUDIT,
    CHANGES,
    DELETED,
    EVENTS,
    LEAVES,
    SALTS,
    SECONDS,
    batch,
    count,
    everything,
    hold,
    named,
    now,
    purge,
    purgeable,
    seal,
)
from tests.support.connect import connect_again
from tests.support.host import HOST, insert_each
from tests.support.results import record_results

# At once.


@contextmanager
def in_background(function: Any, *arguments: Any) -> Iterator[Future[Any]]:
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(function, *arguments)


def wait_until(conn: Connection, waiter: psycopg.Connection[Any], event: str) -> None:
    """Wait until another session waits for something."""
    deadline = threading.Event()
    timer = threading.Timer(SECONDS, deadline.set)
    timer.start()
    try:
        while True:
            (row,) = conn.execute(
                "SELECT wait_event FROM pg_stat_activity WHERE pid = %s",
                (waiter.info.backend_pid,),
            ).fetchall()
            if row["wait_event"] == event:
                return
            assert not deadline.is_set(), row
    finally:
        timer.cancel()


def test_a_hold_waits_for_the_purge_that_has_looked_already(conn: Connection) -> None:
    results = purgeable(conn)
    task = results[0].step.task_uuid
    with connect_again(conn) as purger, connect_again(conn) as keeper, purger.transaction():
        assert batch(purger, now(conn))["records"] == 4
        with in_background(hold, keeper, task) as held:
            wait_until(conn, keeper, "advisory")
            assert count(conn, EVENTS, "kind = 'hold'") == 0
            purger.execute("COMMIT")
            assert held.result(SECONDS)
    assert count(conn, AUDIT) == 0


def test_a_purge_gives_way_to_a_hold_and_sees_it_then(conn: Connection) -> None:
    results = purgeable(conn)
    before = now(conn)
    with connect_again(conn) as keeper:
        with keeper.transaction():
            hold(keeper, results[0].step.task_uuid)
            with pytest.raises(errors.LockNotAvailable):
                batch(conn, before)
        assert purge(conn, before) == Purged(records=2, changes=2, kept_by_hold=2)


def test_holds_and_purges_at_once_take_nothing_that_is_held(conn: Connection) -> None:
    results = purgeable(conn, 120)
    tasks = list(dict.fromkeys(result.step.task_uuid for result in results))
    before = now(conn)
    start = threading.Barrier(3)
    kept: dict[object, int] = {}

    def keep(which: int) -> None:
        with connect_again(conn) as keeper:
            start.wait(SECONDS)
            for task in tasks[which::4]:
                (done,) = call(
                    keeper,
                    HOST.audit_schema,
                    "hold_step_result_audit",
                    p_reason="litigation",
                    p_task_uuid=task,
                )
                kept[task] = done["records"]

    def take() -> Purged:
        with connect_again(conn) as purger:
            start.wait(SECONDS)
            return purge(purger, before, batch_size=3)

    with ThreadPoolExecutor(3) as pool:
        holding = [pool.submit(keep, which) for which in (0, 1)]
        done = pool.submit(take).result()
        for each in holding:
            each.result()
    assert len(kept) == 30
    for task, records in kept.items():
        # As it was when it was held: a purge that comes to it after that leaves it alone.
        assert count(conn, AUDIT, f"task_uuid = '{task}'") == records
    assert done.records == 120 - sum(kept.values())
    assert named(conn) == sorted(set(named(conn)))


def test_a_result_that_the_engine_is_bringing_back_is_not_purged(conn: Connection) -> None:
    result, *_ = results = record_results(conn, 2)
    run(conn, f"DELETE FROM {HOST.transitions}")
    seal(conn)
    before, was = now(conn), everything(conn)
    with connect_again(conn) as writer:
        with writer.transaction():
            insert_each(writer, [result])
            with pytest.raises(errors.LockNotAvailable, match="may bring one of them back"):
                batch(conn, before)
            assert everything(conn) == was
        done = purge(conn, before)
    assert done == Purged(records=1, changes=1, kept_by_engine=1)
    (row,) = conn.execute(f"SELECT workflow_step_transition_uuid AS t FROM {AUDIT}".encode())
    assert (row["t"], len(results)) == (result.transition_uuid, 2)


def test_one_that_comes_back_during_the_batch_is_seen_by_it(conn: Connection) -> None:
    result, *_ = record_results(conn, 2)
    run(conn, f"DELETE FROM {HOST.transitions}")
    seal(conn)
    before = now(conn)
    with connect_again(conn) as writer, connect_again(conn) as purger, writer.transaction():
        insert_each(writer, [result])
        with in_background(batch, purger, before) as done:
            wait_until(conn, purger, "PgSleep")
            writer.execute("COMMIT")
            with pytest.raises(errors.LockNotAvailable):
                done.result(SECONDS)
    assert count(conn, AUDIT) == 2
    assert purge(conn, before) == Purged(records=1, changes=1, kept_by_engine=1)


def test_a_result_that_comes_back_after_the_purge_is_audited_anew(conn: Connection) -> None:
    result, *_ = record_results(conn, 2)
    run(conn, f"DELETE FROM {HOST.transitions}")
    seal(conn)
    with connect_again(conn) as writer, connect_again(conn) as purger, purger.transaction():
        assert batch(purger, now(conn))["records"] == 2
        with in_background(insert_each, writer, [result]) as written:
            wait_until(conn, writer, "transactionid")
            purger.execute("COMMIT")
            written.result(SECONDS)
    (row,) = conn.execute(f"SELECT workflow_step_transition_uuid AS t FROM {AUDIT}".encode())
    assert row["t"] == result.transition_uuid
    assert count(conn, EVENTS, "kind = 'result came again'") == 0
    seal(conn)
    assert count(conn, LEAVES) == 4 + 2


def test_a_purge_waits_for_no_reader_and_none_for_it(conn: Connection) -> None:
    purgeable(conn)
    with connect_again(conn) as reader, reader.transaction():
        for table in (AUDIT, HOST.transitions):
            reader.execute(f"SELECT FROM {table}".encode())
        assert purge(conn).records == 4


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_a_purge_that_is_killed_goes_on_in_the_next_run(conn: Connection, size: int) -> None:
    purgeable(conn, 8)
    before = now(conn)
    with connect_again(conn) as doomed, connect_again(conn) as locker:
        steps = run_purge(doomed, HOST.audit_schema, before, "7 years", batch_size=size)
        next(steps)
        went = 8 - count(conn, AUDIT)
        assert went == min(size, 8)
        with locker.transaction():
            locker.execute(f"SELECT FROM {AUDIT} FOR UPDATE".encode())
            # The events phase, where nothing is left, waits for no row.
            if went < 8:
                with in_background(lambda: list(steps)) as done:
                    wait_until(conn, doomed, "transactionid")
                    call(conn, "pg_catalog", "pg_terminate_backend", pid=doomed.info.backend_pid)
                    with pytest.raises(psycopg.OperationalError):
                        done.result(SECONDS)
        assert count(conn, AUDIT) == 8 - went
        assert count(conn, CHANGES) == 8 - went
        assert count(conn, SALTS) == 16 - 2 * went
    assert purge(conn, before, batch_size=size).records == 8 - went
    assert (count(conn, AUDIT), count(conn, CHANGES), count(conn, SALTS)) == (0, 0, 0)
    assert count(conn, DELETED) == 0
    assert named(conn) == list(range(16))


def test_it_says_for_which_transaction_a_purge_waits(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "_PATIENCE", 0.1)
    result, other = record_results(conn, 2)
    run(conn, f"DELETE FROM {HOST.transitions}")
    seal(conn)
    steps = run_purge(conn, HOST.audit_schema, now(conn), "7 years")
    with connect_again(conn) as writer:
        with writer.transaction():
            insert_each(writer, [result])
            said = next(steps)
            assert said.records == 0
            assert f"process {writer.info.backend_pid} (idle in transaction)" in (
                said.holders or ""
            )
        writer.execute("BEGIN")
        insert_each(writer, [other])
        writer.execute("PREPARE TRANSACTION 'brings it back'")
    try:
        said = next(steps)
    finally:
        conn.execute("ROLLBACK PREPARED 'brings it back'")
    assert "prepared transaction brings it back, since " in (said.holders or "")
    *_, done = steps
    assert done == Purged(records=1, changes=1, kept_by_engine=1)


def test_two_purges_at_once_take_each_trail_once(conn: Connection) -> None:
    purgeable(conn, 60)
    before = now(conn)

    def take(_: int) -> int:
        with connect_again(conn) as purger:
            return purge(purger, before, batch_size=4).records

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(take, range(2))) == 60
    assert named(conn) == list(range(120))
