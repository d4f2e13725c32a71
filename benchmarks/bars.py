"""What must hold, each bar once: a name, a value made of medians, and its limit."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from benchmarks import (
    backfill,
    commands,
    growth,
    instructions,
    limits,
    reading,
    service,
    size,
    trust,
)
from benchmarks.bench import Scale
from benchmarks.contestants import FLOOR, NONE, OURS, PEER, SPEC, VIEWS, overhead
from benchmarks.measure import Estimate, Measurement, Median, estimate, medians

# Tells, of medians, what bounds a bar.
Bound = Callable[[Median], str] | None


@dataclass(frozen=True)
class Bar:
    """A bar: ``value`` must not exceed ``limit``, or, ``at_least``, must reach it.

    ``bound`` tells why it may not be met.
    """

    name: str
    limit: float
    value: Callable[[Median], float]
    unit: str = ""
    at_least: bool = False
    bound: Bound = None

    def is_met(self, value: float) -> bool:
        """Whether a value meets it."""
        return value >= self.limit if self.at_least else value <= self.limit

    def judge(self, measurements: Mapping[str, Measurement]) -> Estimate | None:
        """Its value; None where something that it needs was not measured, or is nothing."""
        try:
            return estimate(self.value, measurements)
        except (KeyError, ZeroDivisionError):
            return None

    def explain(self, measurements: Mapping[str, Measurement]) -> str:
        """What bounds it; says so where that is not known, or not measured."""
        if self.bound is None:
            return "No reason is known: to be looked into."
        try:
            return self.bound(medians(measurements))
        except (KeyError, ZeroDivisionError):
            return "What bounds it was not measured in this run."


def all_bars(scale: Scale, major: int) -> list[Bar]:
    """The bars for what a scale measures on a major, whether it was measured or not."""
    return [
        *_counting(major),
        *_writing(),
        *_growing(scale),
        *_backfilling(scale),
        *_using(scale),
        *_trusting(),
    ]


# Workload, how, beside whom: the limits on 18, and on 15 to 17.
_COUNTED = (
    (instructions.TEXT, instructions.ONE, FLOOR, 1.12, 1.02),
    (instructions.TEXT, instructions.ONE, SPEC, 0.87, 0.82),
    (instructions.TEXT, instructions.EACH, FLOOR, 1.24, 1.15),
    (instructions.TEXT, instructions.EACH, SPEC, 0.91, 0.86),
    (instructions.OBJECT, instructions.ONE, FLOOR, 0.89, 0.78),
    (instructions.OBJECT, instructions.EACH, FLOOR, 1.01, 0.90),
    (instructions.SHORT, instructions.ONE, SPEC, 0.87, 0.78),
    (instructions.SHORT, instructions.EACH, SPEC, 0.93, 0.82),
    (instructions.LONG, instructions.ONE, SPEC, 0.74, 0.66),
    (instructions.LARGE, instructions.ONE, SPEC, 0.42, 0.60),
    (instructions.STARTED, instructions.ONE, NONE, 1.15, 1.18),
    (instructions.STARTED, instructions.EACH, NONE, 1.12, 1.16),
    (instructions.COMPLETED, instructions.ONE, NONE, 1.15, 1.18),
    (instructions.COMPLETED, instructions.EACH, NONE, 1.12, 1.16),
    (instructions.CHANGED, instructions.ONE, NONE, 1.03, 1.03),
    (instructions.CHANGED, instructions.EACH, NONE, 1.03, 1.03),
)


def _counting(major: int) -> Iterator[Bar]:
    for workload, how, other, newest, older in _COUNTED:
        limit = newest if major >= 18 else older
        name = instructions.name(workload, how)
        bound = limits.of_a_long_text if workload is instructions.LARGE else None
        yield (
            _of_whole(name, OURS, other, limit)
            if other == NONE
            else _of_overhead(name, other, limit, bound)
        )
    yield _of_overhead(instructions.TOGETHER, SPEC, 0.77 if major >= 18 else 0.71)
    for workload, how in itertools.product(
        (instructions.TEXT, instructions.STARTED), (instructions.ONE, instructions.EACH)
    ):
        name = instructions.name(workload, how)
        yield _of_whole(name, VIEWS, OURS, 1.02)


def _writing() -> Iterator[Bar]:
    yield _of_whole(size.TOTAL, OURS, SPEC, 1.02, limits.of_bytes)
    yield _of_whole(size.TOTAL, OURS, PEER, 1 / 5)


def _growing(scale: Scale) -> Iterator[Bar]:
    for which, many in itertools.product((growth.NEW, growth.OLD), scale.pasts):
        small, grown = growth.name(scale.few, which), growth.name(many, which)
        yield Bar(
            f"{which}: overhead at {many:,} records ÷ at {scale.few:,}",
            1.2,
            lambda look, small=small, grown=grown: (  # type: ignore[misc]
                overhead(look, grown, OURS) / overhead(look, small, OURS)
            ),
            bound=lambda look, small=small, grown=grown: limits.of_growth(look, small, grown),  # type: ignore[misc]
        )


def _backfilling(scale: Scale) -> Iterator[Bar]:
    yield _of_whole(backfill.WRITER, backfill.WITH_OURS, backfill.ALONE, 1.5, limits.of_a_writer)
    for records in scale.pasts:
        rate = backfill.rate(records)
        yield Bar(
            f"{rate}: rate ÷ {SPEC}'s",
            0.8,
            lambda look, rate=rate: look(rate, SPEC) / look(rate, OURS),  # type: ignore[misc]
            at_least=True,
            bound=limits.of_a_backfill,
        )
        for process in (backfill.SERVER, backfill.CLIENT):
            memory = backfill.memory(process, records)
            yield _of_whole(memory, backfill.LAST, backfill.FIRST, 1.1)


def _using(scale: Scale) -> Iterator[Bar]:
    for name in (reading.FEW, reading.many(scale.many)):
        yield _of_whole(name, reading.FUNCTION, reading.BY_HAND, 1.2, limits.of_a_step)
    far, first = reading.page(scale.page), reading.page(1)
    yield _of_whole(reading.pages(scale.pasts[-1]), far, first, 1.5)
    yield Bar(reading.FULL_SCANS, 0, lambda look: look(reading.FULL_SCANS, OURS))
    yield Bar(commands.HELP, 0.25, lambda look: look(commands.START, commands.HELP), "s")
    yield Bar(
        f"{commands.INSTALL} of {scale.past:,} transitions: {commands.LOCKED}",
        50,
        lambda look: look(commands.INSTALL, commands.LOCKED),
        "ms",
    )
    yield Bar(
        f"{service.SMALL} ÷ (3 of the {service.FUNCTION} + 2 ms)",
        1,
        lambda look: (
            look(service.SMALL, service.REPLY) / (3 * look(service.SMALL, service.FUNCTION) + 2)
        ),
    )
    yield Bar(
        f"{service.LIST}: beyond the {service.FUNCTION}",
        150,
        lambda look: look(service.LIST, service.REPLY) - look(service.LIST, service.FUNCTION),
        "ms",
    )


def _trusting() -> Iterator[Bar]:
    for name, contestant, limit in (
        (trust.SEAL, OURS, 16.7),
        (trust.VERIFY, trust.STANDARD, 55),
        (trust.VERIFY, trust.FAST, 40),
    ):
        yield Bar(
            f"{name} of 1 KB, {contestant}",
            limit,
            lambda look, name=name, contestant=contestant: look(name, contestant),  # type: ignore[misc]
            "µs",
            bound=limits.of_a_seal if name == trust.SEAL else None,
        )
    yield Bar(trust.MEMORY, 64, lambda look: look(trust.MEMORY, OURS), "MiB")


def _of_overhead(measurement: str, other: str, limit: float, bound: Bound = None) -> Bar:
    return Bar(
        f"{measurement}: overhead ÷ {other}'s",
        limit,
        lambda look: overhead(look, measurement, OURS) / overhead(look, measurement, other),
        bound=bound,
    )


def _of_whole(measurement: str, one: str, other: str, limit: float, bound: Bound = None) -> Bar:
    return Bar(
        f"{measurement}: {one} ÷ {other}",
        limit,
        lambda look: look(measurement, one) / look(measurement, other),
        bound=bound,
    )
