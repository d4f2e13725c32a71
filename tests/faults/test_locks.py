"""Install, uninstall and backfill on a busy database: its writers neither queue nor deadlock."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from psycopg import errors

from step_audit.database import Connection, call
from step_audit.errors import RefusedError
from step_audit.setup import installer
from step_audit.setup.backfill import Progress, run_backfill
from tests.faults.test_backfill_concurrency import wait_until
from tests.support.connect import connect_again
from tests.support.host import (
    HOST,
    OK,
    Transition,
    create_steps,
    delete_transitions,
    insert_each,
)
from tests.support.install import install_audit, uninstall_audit

LOCK_TASKS = f"SELECT FROM {HOST.tasks} FOR UPDATE".encode()
LOCK_TASK = f"SELECT FROM {HOST.tasks} WHERE task_uuid = %s FOR UPDATE".encode()


def in_background(
    pool: ThreadPoolExecutor, host: Connection, work: Callable[[Connection], object]
) -> Future[object]:
    def run() -> object:
        with connect_again(host) as conn:
            return work(conn)

    return pool.submit(run)


def tries_to_lock(host: Connection) -> bool:
    """Whether somebody is waiting for a lock on the engine's tables or the audit's now."""
    return bool(
        host.execute(
            "SELECT FROM pg_locks AS l JOIN pg_class AS c ON l.relation = c.oid "
            "WHERE NOT l.granted AND (c.oid = ANY (%s::regclass[]) "
            "OR c.oid = to_regclass('tasker_workflow_step_result_audit'))",
            (list(HOST.tables),),
        ).rowcount
    )


@pytest.mark.parametrize("leave", [False, True], ids=["install", "uninstall"])
def test_an_open_writer_goes_on_and_new_ones_pass_while_the_install_waits(
    host: Connection, leave: bool
) -> None:
    steps = create_steps(host, 2)
    if leave:
        install_audit(host)

    def change(conn: Connection) -> None:
        if leave:
            uninstall_audit(conn, lock_timeout="30s")
        else:
            install_audit(conn, lock_timeout="30s")

    with ThreadPoolExecutor(1) as pool:
        with connect_again(host) as writer, writer.transaction():
            insert_each(writer, [Transition(steps[0], OK, "{}", 1)])
            changed = in_background(pool, host, change)
            wait_until(lambda: tries_to_lock(host))
            # Another writer is let through, and the first one takes what would deadlock.
            host.execute("SET lock_timeout = '1s'")
            insert_each(host, [Transition(steps[1], OK, "{}", 1)])
            writer.execute(f"UPDATE {HOST.tasks} SET correlation_id = gen_random_uuid()".encode())
            assert not changed.done()
        changed.result()
    if not leave:
        (status,) = call(host, HOST.audit_schema, "get_step_audit_status")
        assert (status["attached"], status["unaudited"]) == (True, 2)


def drop_guard(conn: Connection) -> None:
    conn.execute("DROP TRIGGER trg_append_only ON step_audit_leaves")
    install_audit(conn, lock_timeout="30s")


def detach(conn: Connection) -> None:
    installer.detach(conn, HOST.audit_schema, lock_timeout="30s")


def uninstall(conn: Connection) -> None:
    uninstall_audit(conn, lock_timeout="30s")


@pytest.mark.parametrize("change", [detach, uninstall, drop_guard])
def test_a_reader_of_the_audit_makes_no_writer_wait(
    host: Connection, change: Callable[[Connection], None]
) -> None:
    (step,) = create_steps(host)
    install_audit(host)
    with ThreadPoolExecutor(1) as pool:
        with connect_again(host) as reader, reader.transaction():
            reader.execute("SELECT FROM tasker_workflow_step_result_audit_anomalies")
            changed = in_background(pool, host, change)
            # The change tries again and again, 100 ms each; a writer meets it in each state.
            host.execute("SET lock_timeout = '1s'")
            for number in range(8):
                wait_until(lambda: waits_for_anomalies(host))
                insert_each(host, [Transition(step, OK, "{}", number)])
            assert not changed.done()
        changed.result()


def waits_for_anomalies(host: Connection) -> bool:
    return bool(
        host.execute(
            "SELECT FROM pg_locks WHERE NOT granted "
            "AND relation = to_regclass('tasker_workflow_step_result_audit_anomalies')"
        ).rowcount
    )


def test_an_install_gives_up_after_the_lock_timeout_without_a_trace(host: Connection) -> None:
    (step,) = create_steps(host)
    with connect_again(host) as writer, writer.transaction():
        insert_each(writer, [Transition(step, OK, "{}", 1)])
        with pytest.raises(RefusedError, match="a lock was not to be had within"):
            install_audit(host, lock_timeout="300ms")
    found = host.execute("SELECT to_regclass('step_audit_files') AS t").fetchone()
    assert found == {"t": None}


def test_the_backfill_gives_way_to_an_engine_that_locks_its_tasks(host: Connection) -> None:
    steps = create_steps(host, 4, per_task=1)
    insert_each(host, [Transition(step, OK, "{}", 1) for step in steps])
    install_audit(host, enforce_keys=True)
    with ThreadPoolExecutor(1) as pool, connect_again(host) as engine:
        with engine.transaction():
            engine.execute(LOCK_TASK, (steps[0].task_uuid,))
            progress = in_background(
                pool, host, lambda conn: list(run_backfill(conn, HOST.audit_schema))
            )
            wait_until(lambda: gave_way(host))
            engine.execute(LOCK_TASKS)
        assert progress.result() == [Progress(written=4)]


def gave_way(host: Connection) -> bool:
    """Whether the backfill waits for a row that the engine has locked."""
    return bool(
        host.execute(
            "SELECT FROM pg_stat_activity WHERE datname = current_database() "
            "AND wait_event_type = 'Lock' AND query LIKE '%backfill%'"
        ).rowcount
    )


def test_the_procedure_gives_way_too_and_finishes(host: Connection) -> None:
    steps = create_steps(host, 4, per_task=1)
    insert_each(host, [Transition(step, OK, "{}", 1) for step in steps])
    install_audit(host, enforce_keys=True)
    with ThreadPoolExecutor(1) as pool, connect_again(host) as engine:
        with engine.transaction():
            engine.execute(LOCK_TASK, (steps[0].task_uuid,))
            done = in_background(
                pool, host, lambda conn: conn.execute("CALL backfill_step_result_audit(2)")
            )
            wait_until(lambda: gave_way(host))
            engine.execute(LOCK_TASKS)
        done.result()
    (status,) = call(host, HOST.audit_schema, "get_step_audit_status")
    assert (status["audit_rows"], status["unaudited"]) == (4, 0)


def test_after_an_uninstall_the_engine_may_delete_what_was_audited(host: Connection) -> None:
    (step,) = create_steps(host)
    install_audit(host, enforce_keys=True)
    insert_each(host, [Transition(step, OK, "{}", 1)])
    with pytest.raises(errors.ForeignKeyViolation, match="fk_audit_transition"):
        delete_transitions(host)
    uninstall_audit(host)
    assert delete_transitions(host) == 1
    assert host.execute("SELECT FROM tasker_workflow_step_result_audit").rowcount == 1
