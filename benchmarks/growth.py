"""What an audited transition costs when the tables have grown: all sizes in one run, in turns.

On each size one database serves all contestants: ``none`` and ``floor`` write with the trigger off.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from benchmarks import events
from benchmarks.bench import STEPS_PER_TASK, Bench, Target, add_steps
from benchmarks.contestants import FLOOR, NONE, OURS
from benchmarks.measure import Measurement, interleave
from step_audit.database import Connection, connect

NEW, OLD = "new steps", "retries spread over all steps"


def name(records: int, which: str) -> str:
    """The name of the measurement at so many records."""
    return f"single row, 1 KB text, {which}, {records:,} records before"


def measure(bench: Bench) -> list[Measurement]:
    """Measure all sizes of the scale."""
    steps = bench.scale.steps // 2
    sizes = (bench.scale.few, *bench.scale.pasts)
    with ExitStack() as stack:
        works: dict[tuple[str, str], Callable[[], float]] = {}
        for records in sizes:
            dsn = bench.clone(bench.audited(records), f"growth_{records}")
            conn = stack.enter_context(connect(dsn))
            conn.execute("SELECT bench_choose_steps(%s, FALSE)", (steps,))
            old = conn.execute("SELECT count(*) AS steps FROM bench_steps").fetchall()[0]["steps"]
            add_steps(conn, steps // STEPS_PER_TASK * STEPS_PER_TASK)
            conn.execute("VACUUM ANALYZE bench_steps")
            for which, first, count in ((OLD, 1, old), (NEW, old + 1, steps)):
                for contestant in (NONE, FLOOR, OURS):
                    target = Target(conn, dsn, contestant == FLOOR, count, first)
                    work = _work(conn, target, contestant, bench.scale.statements)
                    works[name(records, which), contestant] = work
        samples = interleave(
            {" | ".join(key): work for key, work in works.items()}, bench.scale.rounds
        )
    for records in sizes:
        bench.drop(f"growth_{records}")
    taken: dict[str, dict[str, list[float]]] = {}
    for key, values in samples.items():
        measurement, contestant = key.split(" | ")
        taken.setdefault(measurement, {})[contestant] = values
    return [
        Measurement(measurement, "µs per transition", by_contestant)
        for measurement, by_contestant in taken.items()
    ]


def _work(conn: Connection, target: Target, contestant: str, count: int) -> Callable[[], float]:
    switch = "ENABLE" if contestant == OURS else "DISABLE"

    def run() -> float:
        conn.execute(
            f"ALTER TABLE tasker_workflow_step_transitions {switch} TRIGGER "
            "trg_step_result_audit".encode()
        )
        # The first statements after a change of the table prepare everything anew.
        target.write_each(events.name("text", "1 KB"), events.RESULT, 5)
        return target.write_each(events.name("text", "1 KB"), events.RESULT, count)

    return run
