"""Eight SERIALIZABLE clients that change and delete results: the audit fails none of them.

What they do, and in which order, is drawn from a seed: with the audit and without it the server
sees the same statements on the same keys, so that no allowance is needed.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest
from psycopg import errors

from step_audit.database import Connection
from tests.lifecycle.test_changes import DELETED_STEPS, changes, engine, run  # noqa: F401
from tests.support.connect import connect_again
from tests.support.host import (
    HOST,
    OK,
    Step,
    Transition,
    disable_own_audit,
    insert_each,
    insert_step,
)

CLIENTS = 8
STEPS = 4
RESULTS = 6
ROUNDS = 8
SEEDS = range(4)

READ = f"SELECT count(*) FROM {HOST.transitions} WHERE workflow_step_uuid = %s"
UPDATE = f"UPDATE {HOST.transitions} SET metadata = '[]' WHERE workflow_step_transition_uuid = %s"
DELETE = f"DELETE FROM {HOST.transitions} WHERE workflow_step_transition_uuid = %s"
DELETE_STEP = f"DELETE FROM {HOST.steps} WHERE workflow_step_uuid = %s"


@dataclass
class Client:
    """A session, what it will do in its transaction, and the rows that it has locked."""

    conn: Connection
    todo: list[tuple[str, uuid.UUID]] = field(default_factory=list)
    locked: set[uuid.UUID] = field(default_factory=set)
    failed: bool = False

    def end(self, statement: str) -> None:
        try:
            self.conn.execute(statement.encode())
        except errors.SerializationFailure:
            self.failed = True
        self.todo.clear()
        self.locked.clear()

    def go_on(self) -> None:
        """The next statement of the transaction, or its end."""
        if not self.todo:
            return self.end("COMMIT")
        statement, key = self.todo.pop(0)
        if statement != READ:
            self.locked.add(key)
        try:
            self.conn.execute(statement.encode(), (key,))
        except errors.SerializationFailure:
            self.failed = True
            self.end("ROLLBACK")
        return None


@contextmanager
def eight_clients(conn: Connection) -> Iterator[list[Client]]:
    """Sessions that read by index, as they do in tables that are not as small as these."""
    with ExitStack() as stack:
        clients = []
        for _ in range(CLIENTS):
            other = stack.enter_context(connect_again(conn))
            run(other, "SET enable_seqscan = off")
            run(other, "SET enable_bitmapscan = off")
            run(other, "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE")
            clients.append(Client(other))
        yield clients


def record(
    conn: Connection, draw: random.Random, steps: int = STEPS, results: int = RESULTS
) -> dict[Step, list[Transition]]:
    """Results whose keys, and so their places in the indexes, come from a seed."""
    task = uuid.UUID(int=draw.getrandbits(128))
    made = {}
    for number in range(steps):
        step = Step(uuid.UUID(int=draw.getrandbits(128)), task, f"step_{number}")
        insert_step(conn, step)
        made[step] = [
            Transition(step, OK, "{}", key, transition_uuid=uuid.UUID(int=draw.getrandbits(128)))
            for key in range(results)
        ]
        insert_each(conn, made[step])
    return made


def play(clients: list[Client], draw: random.Random) -> int:
    """Let all begin, and go on by turns; nobody goes where he would wait. Gives how many failed."""
    for client in clients:
        client.failed = False
        client.conn.execute("BEGIN")
        client.conn.execute("SELECT 1 FROM pg_class LIMIT 1")
    open_ones = list(clients)
    while open_ones:
        held = {id(client): client.locked for client in open_ones}
        ready = [
            client
            for client in open_ones
            if not client.todo
            or not any(
                client.todo[0][1] in locked for key, locked in held.items() if key != id(client)
            )
            or client.todo[0][0] == READ
        ]
        client = draw.choice(ready)
        is_last = not client.todo
        client.go_on()
        if is_last or client.failed:
            open_ones.remove(client)
    return sum(client.failed for client in clients)


def failures(conn: Connection, seed: int) -> int:
    """Of clients that look at a step, and change or delete a result of it, or of another."""
    draw = random.Random(seed)
    failed = 0
    with eight_clients(conn) as clients:
        for _ in range(ROUNDS):
            made = record(conn, draw)
            for client in clients:
                looked, written = draw.choices(list(made), k=2)
                result = draw.choice(made[written]).transition_uuid
                client.todo = [
                    (READ, looked.step_uuid),
                    (draw.choice([UPDATE, UPDATE, DELETE]), result),
                ]
            failed += play(clients, draw)
    return failed


def test_they_fail_no_more_often_than_without_the_audit(host: Connection, conn: Connection) -> None:
    """``host`` has no audit."""
    disable_own_audit(host)
    alone = [failures(host, seed) for seed in SEEDS]
    beside = [failures(conn, seed) for seed in SEEDS]
    assert sum(alone) > ROUNDS
    assert sum(beside) <= sum(alone), (alone, beside)
    assert len(changes(conn)) > ROUNDS


@pytest.mark.parametrize("statement", [UPDATE, DELETE], ids=["update", "delete"])
def test_none_fails_of_those_that_touch_different_results(
    host: Connection, conn: Connection, statement: str
) -> None:
    """All of one step, all at once."""
    disable_own_audit(host)
    for each in (host, conn):
        draw = random.Random(62)
        with eight_clients(each) as clients:
            for _ in range(ROUNDS):
                ((_, results),) = record(each, draw, steps=1, results=CLIENTS).items()
                for client, result in zip(clients, results, strict=True):
                    client.todo = [(statement, result.transition_uuid)]
                assert play(clients, draw) == 0
    assert len(changes(conn)) == CLIENTS * ROUNDS


def test_none_fails_of_those_that_delete_different_steps(
    host: Connection, conn: Connection
) -> None:
    """With their results, as a clean-up does."""
    disable_own_audit(host)
    failed: dict[Connection, int] = {}
    for each in (host, conn):
        draw = random.Random(62)
        with eight_clients(each) as clients:
            failed[each] = 0
            for _ in range(ROUNDS):
                made = record(each, draw, steps=CLIENTS, results=1)
                for client, (step, results) in zip(clients, made.items(), strict=True):
                    client.todo = [
                        (DELETE, results[0].transition_uuid),
                        (DELETE_STEP, step.step_uuid),
                    ]
                failed[each] += play(clients, draw)
    assert failed[conn] <= failed[host]
    assert conn.execute(f"SELECT FROM {DELETED_STEPS}".encode()).rowcount > ROUNDS
