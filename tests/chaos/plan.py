"""What a seed stands for: who writes what in each round, and what happens to the servers then."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from tests.support.host import FAILED, OK, Step, Transition

WRITERS = 5
STEPS = 8
# So many that all tables are larger than a megabyte, that of large values too: then a limit of that
# size is a full disk.
HISTORY = 8000
# Where no disk is full, it would take most of the time.
SHORT_HISTORY = 300
LARGE_EACH = 40
_LARGE = 6000

FULL_OF_DATA = "disk full of data"
FAULTS = (
    "postmaster killed",
    "backend killed",
    "sealer killed",
    "sealer's backend killed",
    "killed while commits wait",
    "immediate stop",
    "backend frozen",
    "walreceiver frozen",
    "standby promoted behind",
    FULL_OF_DATA,
    "disk full of WAL",
    "prepared and forgotten",
)

KINDS = (
    "autocommit",
    "together",
    "copy",
    "savepoints",
    "error in a savepoint",
    "rolled back",
    "refused",
    "two-phase",
    "two-phase rolled back",
    "read committed",
    "repeatable read",
    "serializable",
)


@dataclass(frozen=True)
class Operation:
    """One transaction of a writer; ``undone`` is what it takes back itself."""

    number: int
    writer: int
    kind: str
    kept: tuple[Transition, ...]
    undone: tuple[Transition, ...]

    @property
    def kept_results(self) -> list[UUID]:
        return [each.transition_uuid for each in self.kept if each.to_state in {OK, FAILED}]

    @property
    def undone_results(self) -> list[UUID]:
        return [each.transition_uuid for each in self.undone if each.to_state in {OK, FAILED}]


@dataclass(frozen=True)
class Round:
    """What writers do, and the fault that meets them.

    It comes when ``after`` operations have finished, and what lasts lasts for ``lasts`` more.
    ``victim`` is the writer whom it meets. ``forgotten`` is an operation in two phases, the second
    of which is left out, where that is the fault.
    """

    fault: str
    after: int
    lasts: int
    victim: int
    operations: tuple[tuple[Operation, ...], ...]
    forgotten: Operation
    seals: int


@dataclass(frozen=True)
class Plan:
    """All of it. ``synchronous``: commits wait for the standby. ``history`` is written first."""

    seed: int
    synchronous: bool
    steps: tuple[Step, ...]
    history: Operation
    rounds: tuple[Round, ...]


def draw_plan(seed: int, rounds: int | None = None) -> Plan:
    """The plan of a seed, or its first rounds; a shorter history is enough for most of them."""
    drawn = random.Random(seed)
    synchronous = drawn.random() < 0.4
    tasks = [_draw_uuid(drawn) for _ in range(STEPS // 2)]
    steps = tuple(
        Step(_draw_uuid(drawn), tasks[number // 2], f"step_{number % 2}") for number in range(STEPS)
    )
    faults = list(FAULTS)
    drawn.shuffle(faults)
    # All of them once, and a few again in what the others have left.
    faults += drawn.choices(faults, k=3)
    draw = _Draw(drawn, steps)
    needed = HISTORY if FULL_OF_DATA in faults[:rounds] else SHORT_HISTORY
    history = Operation(0, 0, "copy", draw.history()[:needed], ())
    return Plan(seed, synchronous, steps, history, tuple(map(draw.round, faults))[:rounds])


@dataclass
class _Draw:
    random: random.Random
    steps: tuple[Step, ...]
    operations: int = 0
    transitions: int = 0

    def round(self, fault: str) -> Round:
        # A table may have room for some hundred rows.
        is_long = fault == FULL_OF_DATA
        operations = tuple(
            tuple(
                self.operation(writer, most=100 if is_long else 3)
                for _ in range(self.random.randint(4, 8))
            )
            for writer in range(WRITERS)
        )
        count = sum(map(len, operations))
        after = self.random.randint(2, 4 if is_long else count // 2)
        return Round(
            fault,
            after,
            count if is_long else self.random.randint(3, count - after),
            self.random.randrange(WRITERS),
            operations,
            self.operation(WRITERS, ("two-phase", "two-phase rolled back")),
            self.random.randint(2, 4),
        )

    def history(self) -> tuple[Transition, ...]:
        return tuple(
            self.transition(
                self.steps[number % STEPS],
                OK,
                "{}" if number % LARGE_EACH else self.result_of(OK, _LARGE),
                "in_progress",
            )
            for number in range(HISTORY)
        )

    def operation(self, writer: int, kinds: Sequence[str] = KINDS, most: int = 3) -> Operation:
        self.operations += 1
        kind = self.random.choice(kinds)
        results = 1 if kind == "autocommit" else self.random.randint(1, most)
        kept = tuple(each for _ in range(results) for each in self.result())
        undone = tuple(self.result())
        return Operation(self.operations, writer, kind, kept, undone)

    def result(self) -> list[Transition]:
        step = self.random.choice(self.steps)
        state = self.random.choice((OK, OK, FAILED))
        return [
            self.transition(step, "in_progress", "{}", "enqueued"),
            self.transition(step, state, self.metadata(state), "in_progress"),
        ]

    def transition(
        self, step: Step, to_state: str, metadata: str | None, from_state: str
    ) -> Transition:
        self.transitions += 1
        uuid = _draw_uuid(self.random)
        return Transition(step, to_state, metadata, self.transitions, from_state, uuid)

    def metadata(self, state: str) -> str | None:
        odd = self.random.randrange(10)
        if odd < 3:
            return (None, '{"event": "not JSON", "worker_uuid": 7}', "[]")[odd]
        # Now and then more than fits a page.
        return self.result_of(state, self.random.choice((10, 10, 10, _LARGE)))

    def result_of(self, state: str, size: int) -> str:
        data = {
            "success": state == OK,
            "result": self.random.randbytes(size).hex(),
            "metadata": {"execution_time_ms": self.random.randrange(1000)},
        }
        event = {"type": "EnqueueForOrchestration", "data": data}
        return json.dumps(
            {
                "event": json.dumps(event),
                "worker_uuid": str(_draw_uuid(self.random)),
                "correlation_id": str(_draw_uuid(self.random)),
            }
        )


def _draw_uuid(drawn: random.Random) -> UUID:
    return uuid.UUID(int=drawn.getrandbits(128), version=4)
