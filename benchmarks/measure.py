"""Taking turns and comparing medians, so that what else the machine does strikes all alike."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

# The median of what was measured of a contestant: (measurement, contestant) -> value.
Median = Callable[[str, str], float]

_RESAMPLES = 400


@dataclass(frozen=True)
class Measurement:
    """Samples by contestant. Those of one number were taken in one round, one after another."""

    name: str
    unit: str
    samples: dict[str, list[float]]


@dataclass(frozen=True)
class Estimate:
    """A value, and the limits that 95 of 100 resamplings of the rounds give."""

    value: float
    low: float
    high: float


def interleave(
    works: Mapping[str, Callable[[], float]], rounds: int, warm_up: int = 2
) -> dict[str, list[float]]:
    """Let each work be measured once per round, in an order that is new in each; gives samples."""
    samples: dict[str, list[float]] = {name: [] for name in works}
    order = list(works)
    chance = random.Random(62)
    for number in range(warm_up + rounds):
        chance.shuffle(order)
        for name in order:
            value = works[name]()
            if number >= warm_up:
                samples[name].append(value)
    return samples


def medians(measurements: Mapping[str, Measurement]) -> Median:
    """The medians of what was measured; looking for what was not is a KeyError."""
    return lambda measurement, contestant: statistics.median(
        measurements[measurement].samples[contestant]
    )


def estimate(value: Callable[[Median], float], measurements: Mapping[str, Measurement]) -> Estimate:
    """Compute a value from medians, and how far it varies with the rounds that are looked at.

    Raises:
        KeyError: it was not measured.
    """
    resampled = sorted(
        value(_resample(measurements, random.Random(number))) for number in range(_RESAMPLES)
    )
    cut = _RESAMPLES // 40
    return Estimate(value(medians(measurements)), resampled[cut], resampled[-1 - cut])


def _resample(measurements: Mapping[str, Measurement], chance: random.Random) -> Median:
    rounds: dict[tuple[str, int], list[int]] = {}

    def median(measurement: str, contestant: str) -> float:
        samples = measurements[measurement].samples[contestant]
        # The same rounds for all: what slowed one contestant in a round slowed its neighbours.
        key = (measurement, len(samples))
        if key not in rounds:
            rounds[key] = chance.choices(range(len(samples)), k=len(samples))
        return statistics.median(samples[number] for number in rounds[key])

    return median


def timed(work: Callable[[], object]) -> float:
    """Seconds that ``work`` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def percentile(values: list[float], part: float) -> float:
    """The smallest value that ``part`` (0 to 1) of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)]
