"""Workers and orchestrators that lock as engines do: the audit adds no deadlock and no failure."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from psycopg import errors

from step_audit.database import Connection
from tests.support.connect import connect_again
from tests.support.host import (
    HOST,
    OK,
    Step,
    Transition,
    create_steps,
    disable_own_audit,
    insert_each,
)
from tests.support.install import install_audit

CLIENTS = 8
ROUNDS = 100

UPDATE_STEP = (
    f"UPDATE {HOST.steps} SET named_step_uuid = named_step_uuid WHERE workflow_step_uuid = %s"
).encode()
UPDATE_STEPS = (
    f"UPDATE {HOST.steps} SET named_step_uuid = named_step_uuid WHERE task_uuid = %s"
).encode()
LOCK_TASK = f"SELECT FROM {HOST.tasks} WHERE task_uuid = %s FOR UPDATE"

Place = Callable[[Connection], None]


def without(host: Connection) -> None:
    """No audit."""


def beside(host: Connection) -> None:
    install_audit(host)


def with_enforced_keys(host: Connection) -> None:
    install_audit(host, enforce_keys=True)


def meet_deadlock(host: Connection, steps: list[Step]) -> bool:
    """Half of the clients work, half orchestrate, until the server has ended a deadlock."""
    numbers = itertools.count()
    met = threading.Event()

    def run(client: int) -> None:
        choose = random.Random(client)
        with connect_again(host) as conn:
            conn.execute("SET deadlock_timeout = '100ms'")
            for _ in range(ROUNDS):
                if met.is_set():
                    return
                step = choose.choice(steps)
                try:
                    with conn.transaction():
                        if client % 2:
                            conn.execute(UPDATE_STEP, (step.step_uuid,))
                            insert_each(conn, [Transition(step, OK, "{}", next(numbers))])
                        else:
                            conn.execute(LOCK_TASK.encode(), (step.task_uuid,))
                            conn.execute(UPDATE_STEPS, (step.task_uuid,))
                except errors.DeadlockDetected:
                    met.set()

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(run, range(CLIENTS)))
    return met.is_set()


@pytest.mark.parametrize(
    ("place", "deadlocks"),
    [(without, False), (beside, False), (with_enforced_keys, True)],
    ids=["without", "beside", "with enforced keys"],
)
def test_workers_and_orchestrators_deadlock_only_where_keys_are_enforced(
    host: Connection, place: Place, deadlocks: bool
) -> None:
    disable_own_audit(host)
    place(host)
    steps = create_steps(host, 4, per_task=4)
    assert meet_deadlock(host, steps) is deadlocks


@pytest.mark.parametrize(
    ("place", "locked"),
    [(without, False), (beside, False), (with_enforced_keys, True)],
    ids=["without", "beside", "with enforced keys"],
)
def test_a_result_leaves_its_task_to_be_locked(
    host: Connection, place: Place, locked: bool
) -> None:
    """Where two results of a task both lock it, each transaction waits for the other."""
    disable_own_audit(host)
    place(host)
    steps = create_steps(host, 2, per_task=2)
    with connect_again(host) as other, other.transaction():
        insert_each(other, [Transition(steps[1], OK, "{}", 1)])
        with host.transaction(force_rollback=True):
            insert_each(host, [Transition(steps[0], OK, "{}", 1)])
            try:
                host.execute(f"{LOCK_TASK} NOWAIT".encode(), (steps[0].task_uuid,))
            except errors.LockNotAvailable:
                assert locked
            else:
                assert not locked


ODD = '{"event": {"success": "perhaps"}, "worker_uuid": "me", "correlation_id": 7}'


def count_serialization_failures(host: Connection, updates: bool) -> int:
    """All clients begin, write results of their own steps, and commit; gives how many cannot.

    They read by index, as they do in tables that are not as small as these: an engine's UPDATE
    that reads all steps, which an ANALYZE of a small table is enough for, fails the others' itself.
    """
    failures = 0
    steps = create_steps(host, CLIENTS, per_task=4)
    with ExitStack() as stack:
        clients = [stack.enter_context(connect_again(host)) for _ in steps]
        for client in clients:
            client.execute("SET enable_seqscan = off")
            client.execute("SET enable_bitmapscan = off")
        for number in range(10):
            begun = []
            for client in clients:
                client.execute("BEGIN ISOLATION LEVEL SERIALIZABLE")
                client.execute("SELECT 1")
            for client, step in zip(clients, steps, strict=True):
                try:
                    if updates:
                        client.execute(UPDATE_STEP, (step.step_uuid,))
                    metadata = ODD if number % 2 else "{}"
                    insert_each(client, [Transition(step, OK, metadata, number)])
                    begun.append(client)
                except errors.SerializationFailure:
                    client.execute("ROLLBACK")
                    failures += 1
            for client in begun:
                try:
                    client.execute("COMMIT")
                except errors.SerializationFailure:
                    failures += 1
    return failures


@pytest.mark.parametrize("updates", [False, True], ids=["results", "steps too"])
def test_serializable_writers_fail_no_more_often_than_without_the_audit(
    host: Connection, updates: bool
) -> None:
    disable_own_audit(host)
    alone = count_serialization_failures(host, updates)
    install_audit(host)
    host.execute("ANALYZE")
    assert count_serialization_failures(host, updates) <= alone
    anomalous = host.execute("SELECT FROM tasker_workflow_step_result_audit_anomalies").rowcount
    assert anomalous > CLIENTS
