"""What a transition costs a client: prepared single-row statements, 1, 2 and 8 clients at once.

Each client is a process of its own, in autocommit, as a worker of an engine is.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection as Pipe
from typing import Any

import psycopg

from benchmarks import events
from benchmarks.bench import Bench, Target
from benchmarks.contestants import FLOOR, NONE, OURS, SPEC
from benchmarks.measure import Measurement, interleave
from step_audit.database import Connection

CLIENTS = (1, 2, 8)
NOT_AUDITED = "1 client, not audited"
SPREAD, FEW = "8 clients, retries spread over all tasks", "8 clients, retries of two tasks"

_TRANSITION = """
INSERT INTO tasker_workflow_step_transitions (
    workflow_step_uuid, from_state, to_state, metadata, sort_key, most_recent
)
VALUES (%(step)s, 'in_progress', %(state)s, %(metadata)s, %(sort_key)s, FALSE)
"""

PLAIN = _TRANSITION.encode()
BY_ITSELF = f"""
WITH written AS ({_TRANSITION} RETURNING workflow_step_transition_uuid)
INSERT INTO tasker_workflow_step_result_audit (
    workflow_step_uuid, workflow_step_transition_uuid, task_uuid,
    worker_uuid, correlation_id, success, execution_time_ms
)
SELECT %(step)s, workflow_step_transition_uuid, %(task)s, %(worker)s, %(correlation)s, TRUE, 12
FROM written
""".encode()

Rows = list[dict[str, Any]]


class Client:
    """A process that sends statements when it is told to."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()

    def prepare(self, dsn: str, statement: bytes, rows: Rows, pause: float = 0) -> None:
        """Hand over what to send next, with ``pause`` seconds from one start to the next."""
        self._pipe.send((dsn, statement, rows, pause))
        self._pipe.recv()

    def start(self) -> None:
        """Let it send."""
        self._pipe.send(None)

    def finish(self) -> list[tuple[float, float]]:
        """Wait for the last; gives start and end of each statement, seconds of one clock."""
        times: list[tuple[float, float]] = self._pipe.recv()
        return times

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join()


def _serve(pipe: Pipe) -> None:
    connections: dict[str, psycopg.Connection[Any]] = {}
    while True:
        dsn, statement, rows, pause = pipe.recv()
        if dsn not in connections:
            connections[dsn] = psycopg.connect(dsn, autocommit=True)
        cursor = connections[dsn].cursor()
        pipe.send(None)
        pipe.recv()
        times = []
        due = time.perf_counter()
        for row in rows:
            if pause:
                due += pause
                time.sleep(max(due - time.perf_counter(), 0))
            start = time.perf_counter()
            cursor.execute(statement, row, prepare=True)
            times.append((start, time.perf_counter()))
        pipe.send(times)


@contextmanager
def running_clients(count: int) -> Iterator[list[Client]]:
    """Clients that end when the block does."""
    with ExitStack() as stack:
        clients = [Client() for _ in range(count)]
        for client in clients:
            stack.callback(client.stop)
        yield clients


def make_rows(
    conn: Connection, first: int, count: int, sort_key: int, event: str, state: str
) -> Rows:
    """The parameters of ``count`` statements, for the steps from number ``first`` on."""
    metadata = events.all_events()[event]
    steps = conn.execute(
        "SELECT * FROM bench_steps WHERE number >= %s AND number < %s ORDER BY number",
        (first, first + count),
    ).fetchall()
    rows = []
    for step in steps:
        attributed = metadata | {
            "worker_uuid": str(step["worker"]),
            "correlation_id": str(step["correlation"]),
        }
        own = {"metadata": json.dumps(attributed), "sort_key": sort_key, "state": state}
        rows.append(step | own)
    return rows


def measure(bench: Bench) -> list[Measurement]:
    """Measure all numbers of clients."""
    scale = bench.scale
    result = events.name("text", "1 KB"), events.RESULT
    start = events.START, events.STARTED
    taken = []
    for number in CLIENTS:
        count = max(scale.statements // number, 100)
        taken.append(_measure(bench, single(number), number, count, *result))
    taken.append(_measure(bench, NOT_AUDITED, 1, scale.statements, *start, rounds=scale.rounds))
    taken.append(_measure(bench, SPREAD, 8, 100, *result))
    taken.append(_measure(bench, FEW, 8, 100, *result, steps=20))
    return taken


def single(clients: int) -> str:
    """The name of the measurement with so many clients."""
    return f"{clients} client{'s' if clients > 1 else ''}, 1 KB text"


def _measure(
    bench: Bench,
    name: str,
    number: int,
    count: int,
    event: str,
    state: str,
    rounds: int | None = None,
    steps: int | None = None,
) -> Measurement:
    with (
        bench.targets(NONE, FLOOR, SPEC, OURS) as targets,
        running_clients(number) as clients,
    ):
        for target in targets.values():
            target.steps = steps or target.steps
        works = {
            contestant: _work(target, clients, count, event, state)
            for contestant, target in targets.items()
        }
        samples = interleave(works, rounds or bench.scale.rounds // 2)
    return Measurement(name, "µs per transition", samples)


def _work(
    target: Target, clients: list[Client], count: int, event: str, state: str
) -> Callable[[], float]:
    by_itself = target.by_itself and state == events.RESULT
    statement = BY_ITSELF if by_itself else PLAIN
    part = min(count, target.steps)

    def run() -> float:
        for client in clients:
            rows: Rows = []
            while len(rows) < count:
                first, sort_key = target.batch(part)
                rows += make_rows(target.conn, first, part, sort_key, event, state)
            client.prepare(target.dsn, statement, rows[:count])
        for client in clients:
            client.start()
        times = [client.finish() for client in clients]
        spent = max(taken[-1][1] for taken in times) - min(taken[0][0] for taken in times)
        return spent / count / len(clients) * 1e6

    return run
