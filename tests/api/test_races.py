"""Several at once at one step: one of them moves it, the others are told, and its chain holds."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg import IsolationLevel

from step_audit.database import Connection
from step_audit.engine.context import TransitionContext
from step_audit.engine.state_machine import StepStateMachine
from step_audit.engine.states import EventType, StepEvent
from step_audit.errors import ForbiddenTransitionError, LostRaceError
from tests.support.audit import audit_rows
from tests.support.connect import connect_again
from tests.support.host import FAILED, HOST, OK, USAGE, Step, create_steps, drop_constraints
from tests.support.lifecycle import TABLE, chain, everything_written, put

START = StepEvent(EventType.START)
CANCEL = StepEvent(EventType.CANCEL)
SUCCEED = StepEvent(EventType.ENQUEUE_FOR_ORCHESTRATION, {"success": True})
FAIL = StepEvent(EventType.ENQUEUE_AS_ERROR_FOR_ORCHESTRATION, {"success": False})
# Each is forbidden once it has happened, so one writer of a round can win.
CYCLE = [START, SUCCEED, StepEvent(EventType.FAIL, "no"), StepEvent(EventType.RETRY)]
SNAPSHOTS = [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE]

Act = Callable[[StepEvent], object]


def connect_with(conn: Connection, level: IsolationLevel | None) -> Connection:
    client = connect_again(conn)
    client.isolation_level = level
    return client


def lost(error: LostRaceError) -> tuple[str, str]:
    """State and event of a lost race; its message names them and the step."""
    assert str(error) == (
        f"step {error.step_uuid} was moved by another transaction, as {error.event} found it "
        f"{error.state}; nothing was written. Read the step again, in a new transaction."
    )
    return error.state, error.event


def race(actors: list[Act], rounds: list[StepEvent]) -> list[list[Exception | None]]:
    """Let all actors do the same at once, round after round; gives their errors by round."""
    together = threading.Barrier(len(actors), timeout=30)

    def run(act: Act) -> list[Exception | None]:
        outcomes: list[Exception | None] = []
        for event in rounds:
            together.wait()
            try:
                act(event)
                outcomes.append(None)
            except (ForbiddenTransitionError, LostRaceError) as error:
                outcomes.append(error)
        return outcomes

    with ThreadPoolExecutor(len(actors)) as pool:
        return [list(outcomes) for outcomes in zip(*pool.map(run, actors), strict=True)]


def engine_move(conn: Connection, step: Step, event: StepEvent) -> None:
    """Apply an event as an engine does that takes no lock on the step, but careful otherwise."""
    sources, target = TABLE[event.type.value]
    try:
        with conn.transaction():
            current = conn.execute(
                "SELECT workflow_step_transition_uuid AS uuid, to_state, sort_key "
                "FROM tasker_workflow_step_transitions "
                "WHERE workflow_step_uuid = %s AND most_recent",
                (step.step_uuid,),
            ).fetchone() or {"uuid": None, "to_state": "pending", "sort_key": -1}
            if current["to_state"] not in sources:
                raise ForbiddenTransitionError(step.step_uuid, current["to_state"], event.type)
            conn.execute(
                "UPDATE tasker_workflow_step_transitions SET most_recent = FALSE "
                "WHERE workflow_step_transition_uuid = %s",
                (current["uuid"],),
            )
            conn.execute(
                "INSERT INTO tasker_workflow_step_transitions "
                "(workflow_step_uuid, from_state, to_state, sort_key) VALUES (%s, %s, %s, %s)",
                (step.step_uuid, current["to_state"], target, current["sort_key"] + 1),
            )
    except (psycopg.errors.UniqueViolation, psycopg.errors.SerializationFailure) as error:
        raise LostRaceError(step.step_uuid, current["to_state"], event.type) from error


def only_most_recent_is_unique(conn: Connection) -> None:
    """Leave the host the one index that every host has."""
    drop_constraints(conn, "u")


@pytest.mark.parametrize("level", [None, *SNAPSHOTS])
def test_of_several_writers_exactly_one_wins_each_round(
    conn: Connection, level: IsolationLevel | None
) -> None:
    (step,) = create_steps(conn)
    only_most_recent_is_unique(conn)
    clients = [connect_with(conn, level) for _ in range(5)]
    machines = [StepStateMachine(client) for client in clients]
    actors: list[Act] = [
        lambda event, machine=machine: machine.transition(step.step_uuid, event)  # type: ignore[misc]
        for machine in machines
    ]
    rounds = CYCLE * 8
    outcomes = race(actors, rounds)
    for client in clients:
        client.close()
    assert [errors.count(None) for errors in outcomes] == [1] * len(rounds)
    assert [row.to_state for row in chain(conn, step)] == [
        TABLE[event.type.value][1] for event in rounds
    ]
    assert len(audit_rows(conn)) == 8
    for errors, event in zip(outcomes, rounds, strict=True):
        for error in errors:
            if isinstance(error, LostRaceError):
                assert level is not None
                assert lost(error)[1] == event.type


def test_of_several_results_the_winners_is_audited_and_no_other(conn: Connection) -> None:
    steps = create_steps(conn, 12)
    clients = [connect_again(conn) for _ in range(4)]
    workers = {client: TransitionContext(uuid.uuid4()) for client in clients}
    done = {}

    def report(client: Connection, number: int, event: StepEvent) -> None:
        step, machine = steps[number], StepStateMachine(client)
        written = machine.transition_with_context(step.step_uuid, event, workers[client])
        done[written.transition_uuid] = workers[client].worker_uuid, event is SUCCEED

    for number, step in enumerate(steps):
        put(conn, step, "in_progress")
        actors: list[Act] = [
            lambda _, c=client, e=event: report(c, number, e)  # type: ignore[misc]  # noqa: B023
            for client, event in zip(clients, [SUCCEED, FAIL] * 2, strict=True)
        ]
        (outcomes,) = race(actors, [SUCCEED])
        assert outcomes.count(None) == 1
        assert chain(conn, step)[-1].to_state in (OK, FAILED)
    for client in clients:
        client.close()
    audits = {key: (a.worker_uuid, a.success) for key, a in audit_rows(conn).items()}
    assert audits == done
    assert len(audits) == len(steps)


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("level", SNAPSHOTS)
def test_a_writer_whose_snapshot_is_older_than_the_winners_commit_lost_the_race(
    conn: Connection, level: IsolationLevel, fresh: bool
) -> None:
    step, other = create_steps(conn, 2)
    if not fresh:
        put(conn, step, "enqueued")
    state = "pending" if fresh else "enqueued"
    with connect_with(conn, level) as client:
        machine = StepStateMachine(client)
        with client.transaction():
            assert machine.state(step.step_uuid) == state
            StepStateMachine(conn).transition(step.step_uuid, START)
            unchanged = everything_written(conn)
            with pytest.raises(LostRaceError) as error:
                machine.transition(step.step_uuid, CANCEL)
            assert lost(error.value) == (state, "Cancel")
            assert everything_written(conn) == unchanged
            machine.transition(other.step_uuid, START)
        assert chain(conn, step)[-1].to_state == "in_progress"
        assert chain(conn, other)[-1].to_state == "in_progress"
        machine.transition(step.step_uuid, CANCEL)
    assert chain(conn, step)[-1].to_state == "cancelled"


def test_a_transaction_that_cannot_be_serialised_any_more_lost_the_race(conn: Connection) -> None:
    step, other = create_steps(conn, 2)
    with (
        connect_with(conn, IsolationLevel.SERIALIZABLE) as first,
        connect_with(conn, IsolationLevel.SERIALIZABLE) as second,
    ):
        machine, rival = StepStateMachine(first), StepStateMachine(second)

        with first.transaction(force_rollback=True):
            assert machine.state(other.step_uuid) == "pending"
            with second.transaction():
                assert rival.state(step.step_uuid) == "pending"
                machine.transition(step.step_uuid, START)
                rival.transition(other.step_uuid, START)
            with pytest.raises(LostRaceError) as error:
                machine.transition(step.step_uuid, SUCCEED)
            assert lost(error.value) == ("unknown", "EnqueueForOrchestration")
    assert chain(conn, step) == []
    assert [row.to_state for row in chain(conn, other)] == ["in_progress"]


def test_beside_an_engine_that_locks_no_step_exactly_one_wins_each_round(conn: Connection) -> None:
    (step,) = create_steps(conn)
    only_most_recent_is_unique(conn)
    clients = [connect_again(conn) for _ in range(4)]
    actors: list[Act] = [
        lambda event: StepStateMachine(clients[0]).transition(step.step_uuid, event),
        lambda event: engine_move(clients[1], step, event),
        lambda event: StepStateMachine(clients[2]).transition(step.step_uuid, event),
        lambda event: engine_move(clients[3], step, event),
    ]
    rounds = CYCLE * 25
    outcomes = race(actors, rounds)
    for client in clients:
        client.close()
    assert [errors.count(None) for errors in outcomes] == [1] * len(rounds)
    assert len(chain(conn, step)) == len(rounds)
    assert len(audit_rows(conn)) == 25


@pytest.mark.parametrize("fresh", [True, False])
def test_a_writer_that_waited_for_an_engine_which_then_commits_lost_the_race(
    conn: Connection, fresh: bool
) -> None:
    (step,) = create_steps(conn)
    if not fresh:
        put(conn, step, "enqueued")
    with connect_again(conn) as client, ThreadPoolExecutor(1) as pool:
        with conn.transaction():
            engine_move(conn, step, START)
            moved = pool.submit(StepStateMachine(client).transition, step.step_uuid, CANCEL)
            wait_until_blocked(conn, client)
        with pytest.raises(LostRaceError) as error:
            moved.result()
        assert lost(error.value) == ("in_progress", "Cancel")
    assert chain(conn, step)[-1].to_state == "in_progress"


def test_a_writer_that_waited_for_an_engine_which_then_rolls_back_wins(conn: Connection) -> None:
    (step,) = create_steps(conn)
    put(conn, step, "enqueued")
    with connect_again(conn) as client, ThreadPoolExecutor(1) as pool:
        with conn.transaction(force_rollback=True):
            engine_move(conn, step, START)
            moved = pool.submit(StepStateMachine(client).transition, step.step_uuid, CANCEL)
            wait_until_blocked(conn, client)
        assert moved.result().sort_key == 1
    assert [row.to_state for row in chain(conn, step)] == ["enqueued", "cancelled"]


def test_an_engine_that_commits_between_a_writers_look_and_its_write_wins(
    conn: Connection,
) -> None:
    (step,) = create_steps(conn)
    put(conn, step, "enqueued")
    only_most_recent_is_unique(conn)
    make_reading_wait(conn)
    with connect_again(conn) as client, ThreadPoolExecutor(1) as pool:
        client.execute("SET ROLE driver")
        with conn.transaction():
            conn.execute("SELECT pg_advisory_xact_lock(62)")
            moved = pool.submit(StepStateMachine(client).transition, step.step_uuid, CANCEL)
            wait_until_blocked(conn, client)
            engine_move(conn, step, START)
        with pytest.raises(LostRaceError) as error:
            moved.result()
        assert lost(error.value) == ("in_progress", "Cancel")
    assert [row.to_state for row in chain(conn, step)] == ["enqueued", "in_progress"]
    conn.execute("DROP OWNED BY driver")
    conn.execute("DROP ROLE driver")


def test_a_deadlock_is_a_lost_race_and_the_rest_of_the_transaction_stands(conn: Connection) -> None:
    step, other = create_steps(conn, 2)
    conn.execute("SET deadlock_timeout = '1h'")
    with connect_again(conn) as client, ThreadPoolExecutor(1) as pool:
        client.execute("SET deadlock_timeout = '10ms'")
        machine = StepStateMachine(client)

        def move_both() -> None:
            with conn.transaction():
                engine_move(conn, other, START)
                engine_move(conn, step, START)

        with client.transaction():
            machine.transition(step.step_uuid, CANCEL)
            moved = pool.submit(move_both)
            wait_until_blocked(client, conn)
            with pytest.raises(LostRaceError) as error:
                machine.transition(other.step_uuid, CANCEL)
            assert lost(error.value) == ("pending", "Cancel")
        with pytest.raises(LostRaceError):
            moved.result()
    assert [row.to_state for row in chain(conn, step)] == ["cancelled"]
    assert chain(conn, other) == []


def make_reading_wait(conn: Connection) -> None:
    """Make role ``driver``, whose look at the transitions waits for an advisory lock."""
    conn.execute("DROP ROLE IF EXISTS driver")
    conn.execute(
        f"""
        CREATE ROLE driver;
        GRANT {USAGE} TO driver;
        GRANT ALL ON tasker_tasks, tasker_workflow_steps, tasker_workflow_step_transitions,
            {", ".join(HOST.tables)} TO driver;
        CREATE FUNCTION wait_in_line() RETURNS boolean LANGUAGE sql
        RETURN pg_advisory_xact_lock_shared(62) IS NOT NULL;
        ALTER TABLE {HOST.transitions} ENABLE ROW LEVEL SECURITY;
        CREATE POLICY waits ON {HOST.transitions} TO driver USING (wait_in_line());
        """.encode()
    )


def wait_until_blocked(conn: Connection, client: Connection) -> None:
    """Poll until ``client`` waits for a lock, for at most half a minute."""
    pause = threading.Event()
    for _ in range(3000):
        row = conn.execute(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pid = %s) AS waits",
            (client.info.backend_pid,),
        ).fetchone()
        if row == {"waits": True}:
            return
        pause.wait(0.01)
    raise AssertionError("it did not wait within 30 seconds")
