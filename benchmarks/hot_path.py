"""What a transition costs inside the server: single rows, many rows, COPY, by size of event."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Callable, Mapping

from benchmarks import events
from benchmarks.bench import Bench, Target
from benchmarks.contestants import FLOOR, LEAN_PEER, NONE, OURS, PEER, SPEC
from benchmarks.measure import Measurement, interleave, timed

TOGETHER = "1,000 rows in one statement, 1 KB text"
COPY = "COPY of 1,000 rows, 1 KB text"
NOT_AUDITED = "single row, not audited"

ALL = (NONE, FLOOR, SPEC, OURS, PEER, LEAN_PEER)
MAIN = (NONE, FLOOR, SPEC, OURS)

# Large events are slow to store with or without an audit: fewer do, in more rounds.
_FEWER = {"16 KB": 4, "256 KB": 50}


def single(kind: str, size: str) -> str:
    """The name of the measurement of single rows with such an event."""
    return f"single row, {size} {kind}"


ONE_KB = single("text", "1 KB")


def measure(bench: Bench) -> list[Measurement]:
    """Measure, each workload on databases of its own."""
    scale = bench.scale
    taken = []
    for kind in events.KINDS:
        for size in events.SIZES:
            names = ALL if (kind, size) == ("text", "1 KB") else MAIN
            count = max(scale.statements // _FEWER.get(size, 1), 5)
            rounds = scale.rounds * (2 if size in _FEWER else 1)
            event = events.name(kind, size)
            with bench.targets(*names) as targets:
                taken.append(
                    _measure(
                        single(kind, size),
                        targets,
                        rounds,
                        _each(event, events.RESULT, count),
                    )
                )
    one = events.name("text", "1 KB")
    count = min(1000, scale.steps)
    with bench.targets(*MAIN) as targets:
        work = _each(events.START, events.STARTED, scale.statements)
        taken.append(_measure(NOT_AUDITED, targets, scale.rounds * 6, work))
    with bench.targets(*ALL) as targets:
        work = _together(one, count)
        taken.append(_measure(TOGETHER, targets, scale.rounds // 2, work))
    with bench.targets(*MAIN) as targets:
        taken.append(_measure(COPY, targets, scale.rounds // 2, _copy(count)))
    return taken


Work = Callable[[Target], Callable[[], float]]


def _measure(name: str, targets: Mapping[str, Target], rounds: int, work: Work) -> Measurement:
    works = {contestant: work(target) for contestant, target in targets.items()}
    return Measurement(name, "µs per transition", interleave(works, rounds))


def _each(event: str, state: str, count: int) -> Work:
    return lambda target: lambda: target.write_each(event, state, count)


def _together(event: str, count: int) -> Work:
    return lambda target: lambda: target.write_together(event, events.RESULT, count)


def _copy(count: int) -> Work:
    metadata = events.all_events()[events.name("text", "1 KB")]
    return lambda target: lambda: _write_copy(target, metadata, count)


def _write_copy(target: Target, metadata: dict[str, object], count: int) -> float:
    first, sort_key = target.batch(count)
    rows = target.conn.execute(
        "SELECT * FROM bench_steps WHERE number >= %s AND number < %s", (first, first + count)
    ).fetchall()
    transitions, audit = io.StringIO(), io.StringIO()
    for row in rows:
        key = uuid.uuid4()
        attributed = metadata | {
            "worker_uuid": str(row["worker"]),
            "correlation_id": str(row["correlation"]),
        }
        text = json.dumps(attributed).replace("\\", "\\\\")
        transitions.write(
            f"{key}\t{row['step']}\tin_progress\t{events.RESULT}\t{text}\t{sort_key}\tf\n"
        )
        audit.write(
            f"{row['step']}\t{key}\t{row['task']}\t{row['worker']}\t{row['correlation']}\tt\t12\n"
        )
    copies = [
        (
            "COPY tasker_workflow_step_transitions (workflow_step_transition_uuid, "
            "workflow_step_uuid, from_state, to_state, metadata, sort_key, most_recent) FROM STDIN",
            transitions.getvalue(),
        )
    ]
    if target.by_itself:
        copies.append(
            (
                "COPY tasker_workflow_step_result_audit (workflow_step_uuid, "
                "workflow_step_transition_uuid, task_uuid, worker_uuid, correlation_id, success, "
                "execution_time_ms) FROM STDIN",
                audit.getvalue(),
            )
        )
    return timed(lambda: _run_copies(target, copies)) / count * 1e6


def _run_copies(target: Target, copies: list[tuple[str, str]]) -> None:
    with target.conn.transaction(), target.conn.cursor() as cursor:
        for statement, data in copies:
            with cursor.copy(statement.encode()) as copy:
                copy.write(data)
