"""Instructions of a transition, in thousands: what repeats within 1 % on any machine.

Each workload is counted in a fresh copy of a contestant's database, with the same steps in each:
after a warm-up, all transitions in one transaction; then the next ones, each in its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import events
from benchmarks.bench import QUICK, Bench, add_steps
from benchmarks.callgrind import count
from benchmarks.contestants import FLOOR, NONE, OURS, SPEC, VIEWS, Contestant, Lineup
from benchmarks.measure import Measurement
from benchmarks.server import running_server
from step_audit.database import connect

ONE, EACH, STATEMENT = "one transaction", "a transaction each", "one statement"
UNIT = "thousands of instructions per transition"

_WARM_UP = 64
_STEPS = 2_000
_TOGETHER = 1_000


@dataclass(frozen=True)
class Workload:
    """Transitions of one kind: to a state, with an event, so many of them.

    ``is_change``: not written but changed, as the engine does when the next one comes.
    """

    name: str
    event: str
    to_state: str = events.RESULT
    transitions: int = 64
    is_change: bool = False

    @property
    def is_result(self) -> bool:
        """Whether it is audited."""
        return self.to_state == events.RESULT and not self.is_change


TEXT = Workload("1 KB text", events.name("text", "1 KB"))
OBJECT = Workload("1 KB object", events.name("object", "1 KB"))
SHORT = Workload("0.3 KB text", events.name("text", "0.3 KB"))
LONG = Workload("16 KB text", events.name("text", "16 KB"), transitions=24)
LARGE = Workload("256 KB text", events.name("text", "256 KB"), transitions=6)
STARTED = Workload("a start", events.START, events.STARTED)
COMPLETED = Workload("a completion", events.COMPLETE, events.COMPLETED)
CHANGED = Workload("most_recent, updated_at", TEXT.event, is_change=True)
WORKLOADS = (TEXT, OBJECT, SHORT, LONG, LARGE, STARTED, COMPLETED, CHANGED)
TOGETHER = "1,000 rows in a statement"


def name(workload: Workload, how: str) -> str:
    """The name of a workload's measurement, for instance ``1 KB text, one transaction``."""
    return f"{workload.name}, {how}"


def measure(bench: Bench) -> list[Measurement]:
    """Count all workloads."""
    return count_all(
        bench.major, bench.lineup.named(NONE, FLOOR, SPEC, OURS, VIEWS), WORKLOADS, together=True
    )


def count_all(
    major: int, contestants: Sequence[Contestant], workloads: Sequence[Workload], together: bool
) -> list[Measurement]:
    """Count the workloads on a server of its own, which is stopped for it.

    ``together``: the rows of one statement too.
    """
    with running_server(major) as server:
        own = Bench(server, Lineup({}, None, ()), QUICK, major)
        _prepare(own, contestants, [workload.name for workload in workloads], together)
        own.close()
        server.stop()
        counted: dict[str, dict[str, list[float]]] = {}
        for contestant in contestants:
            for workload in workloads:
                if contestant.by_itself and not workload.is_result:
                    continue
                found = count(
                    server,
                    _database(contestant, workload.name),
                    *_commands(workload, contestant),
                )
                for how, total in zip((ONE, EACH), found, strict=True):
                    values = counted.setdefault(name(workload, how), {})
                    values[contestant.name] = [total / workload.transitions / 1000]
            if together:
                (total,) = count(
                    server,
                    _database(contestant, TOGETHER),
                    [_statement(1, _WARM_UP, contestant)],
                    [_statement(1 + _WARM_UP, _TOGETHER, contestant)],
                )
                values = counted.setdefault(TOGETHER, {})
                values[contestant.name] = [total / _TOGETHER / 1000]
    return [Measurement(title, UNIT, samples) for title, samples in counted.items()]


def _prepare(
    bench: Bench, contestants: Sequence[Contestant], workloads: Sequence[str], together: bool
) -> None:
    """A database for each contestant and workload, copies of one host."""
    with connect(bench.create_host("host")) as conn:
        add_steps(conn, _STEPS)
    for contestant in contestants:
        with connect(bench.clone("host", "installed")) as conn:
            contestant.install(conn)
            # On empty tables the plans of foreign keys' checks would scan, and stay.
            conn.execute(_statement(1, _STEPS, contestant, sort_key=0).encode())
            conn.execute("VACUUM ANALYZE")
        for workload in (*workloads, *([TOGETHER] if together else [])):
            bench.clone("installed", _database(contestant, workload), small=True)


def _database(contestant: Contestant, workload: str) -> str:
    return f"{contestant.name}, {workload}"


def _statement(first: int, rows: int, contestant: Contestant, sort_key: int = 1) -> str:
    return (
        f"SELECT bench_write_together({first}, {rows}, '{TEXT.event}', '{events.RESULT}', "
        f"{sort_key}, {contestant.by_itself})"
    )


def _commands(workload: Workload, contestant: Contestant) -> tuple[list[str], list[str], list[str]]:
    """The commands of the warm-up, of one transaction, and of a transaction each."""
    one = 1 + _WARM_UP
    each = one + workload.transitions

    def write(first: int, count: int) -> str:
        if workload.is_change:
            return f"SELECT bench_change_each({first}, {count}, 0)"
        return (
            f"SELECT bench_write_each({first}, {count}, '{workload.event}', "
            f"'{workload.to_state}', 1, {contestant.by_itself})"
        )

    return (
        [write(first, 1) for first in range(1, one)],
        [write(one, workload.transitions)],
        [write(first, 1) for first in range(each, each + workload.transitions)],
    )
