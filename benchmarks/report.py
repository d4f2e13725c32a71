"""RESULTS.md: every bar, then every table of every run, with the plots."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path

from benchmarks import bars, contestants, instructions, plots, size
from benchmarks.bars import Bar
from benchmarks.bench import FULL, LARGE, QUICK
from benchmarks.contestants import FLOOR, NONE, OURS, SPEC
from benchmarks.measure import Estimate, Measurement, medians
from benchmarks.results import Run

_SCALES = {scale.name: scale for scale in (QUICK, FULL, LARGE)}

_INTRODUCTION = """\
# What step-audit costs

Written by `python -m benchmarks`; do not edit.
"""

_READING = """\
*Overhead* is what a transition takes more than with no audit. Instructions are counted in the
server by valgrind, in thousands, and repeat within 1 %, whatever else the machine does; the ratios
are of one run. Times are medians of samples taken in turns, beside them the limits within which a
ratio stays in 95 of 100 resamplings of the rounds. The server waits for no disk (`fsync = off`),
which would hide what an audit costs: where commits wait for a disk, it is a smaller part of the
whole.
"""


def write(path: Path, runs: dict[str, Run]) -> None:
    """Write the report of all runs, and its plots into ``plots`` beside it."""
    ordered = sorted(runs.items(), reverse=True)
    lines = [_INTRODUCTION]
    for key, run in ordered:
        lines += _summarize(path.parent, key, run)
    lines += [_READING]
    lines += [f"- `{name}`: {text}." for name, text in contestants.EXPLAINED.items()]
    for key, run in ordered:
        lines += ["", *_write_run(path.parent, key, run)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _summarize(folder: Path, key: str, run: Run) -> Iterator[str]:
    """What it costs, in three lines and a plot; nothing where no instructions were counted."""
    look = medians(run.measurements)
    one = instructions.name(instructions.TEXT, instructions.EACH)
    start = instructions.name(instructions.STARTED, instructions.EACH)
    try:
        yield f"On {key}:"
        yield ""
        result = contestants.overhead(look, one, OURS)
        yield (
            f"- a result of 1 KB takes {_number(result)} thousand instructions more, "
            f"{_number(result / contestants.overhead(look, one, SPEC))} of what the "
            f"specification's trigger adds, "
            f"{_number(result / contestants.overhead(look, one, FLOOR))} of what the application "
            "adds that writes the row itself;"
        )
        yield (
            f"- any other transition takes {_number(contestants.overhead(look, start, OURS))} "
            f"thousand more, {_number(look(start, OURS) / look(start, NONE))} of its own;"
        )
        yield f"- a record takes {_number(look(size.TOTAL, OURS))} bytes, all indexes included."
    except KeyError:
        yield "- not counted in this run: `python -m benchmarks --instructions`."
    yield ""
    name = key.lower().replace(" ", "_")
    if plots.draw_instructions(folder / "plots" / name, run.measurements):
        yield f"![Instructions added to a result, in thousands](plots/{name}/instructions.svg)"
        yield ""


def judge(run: Run) -> list[tuple[Bar, Estimate | None]]:
    """Every bar of the run's scale, with its value where it was measured."""
    measured = run.measurements
    return [(bar, bar.judge(measured)) for bar in bars.all_bars(_SCALES[run.scale], run.major)]


def verdict(bar: Bar, found: Estimate | None) -> str:
    """Whether a bar is met, in words."""
    if found is None:
        return "not measured"
    met = bar.is_met(found.value)
    sure = bar.is_met(found.low) == met == bar.is_met(found.high)
    return ("met" if met else "**not met**") + ("" if sure else ", within the noise")


def _write_run(folder: Path, key: str, run: Run) -> Iterator[str]:
    judged = judge(run)
    yield f"## {key}"
    yield ""
    yield ", ".join(f"{name}: {value}" for name, value in run.machine.items()) + "."
    minutes = sum(section.seconds for section in run.sections.values()) / 60
    yield f"Scale `{run.scale}`, {minutes:.0f} minutes."
    yield ""
    yield from (f"- {note}" for note in run.notes)
    yield ""
    yield "| bar | limit | measured | 95 % | |"
    yield "|---|---|---|---|---|"
    for bar, found in judged:
        sign = "≥" if bar.at_least else "≤"
        value = f"{_number(found.value)} {bar.unit}".strip() if found else ""
        spread = f"{_number(found.low)} to {_number(found.high)}" if found else ""
        limit = f"{sign} {_number(bar.limit)} {bar.unit}".strip()
        yield f"| {bar.name} | {limit} | {value} | {spread} | {verdict(bar, found)} |"
    yield ""
    yield from _explain(judged, run)
    name = key.lower().replace(" ", "_").replace(",", "")
    drawn = plots.draw(folder / "plots" / name, run.measurements, judged)
    for file, title in drawn.items():
        yield f"![{title}](plots/{name}/{file})"
        yield ""
    if not drawn:
        yield "No plots: matplotlib was not installed."
        yield ""
    for section in run.sections.values():
        yield f"### {section.title}"
        yield ""
        if section.measured:
            yield f"Measured {section.measured}."
            yield ""
        for table in _tables(section.measurements):
            yield from table
            yield ""
        yield from (f"- {note}" for note in section.notes)
        yield ""


def _explain(judged: list[tuple[Bar, Estimate | None]], run: Run) -> Iterator[str]:
    """What bounds the bars that are not met, each reason once."""
    reasons: dict[str, list[str]] = {}
    for bar, found in judged:
        if found is not None and not bar.is_met(found.value):
            reasons.setdefault(bar.explain(run.measurements), []).append(bar.name)
    if reasons:
        yield "What bounds those that are not met, and what was tried:"
        yield ""
    for reason, names in reasons.items():
        yield f"- *{'; '.join(names)}.* {reason}"
    if reasons:
        yield ""


def _tables(measurements: list[Measurement]) -> Iterator[list[str]]:
    """One table for measurements of the same contestants and unit."""
    groups: dict[tuple[str, tuple[str, ...]], list[Measurement]] = {}
    for measurement in measurements:
        columns = tuple(measurement.samples)
        if measurement.unit == "bytes per record":
            columns = tuple(measurements[0].samples)
        groups.setdefault((measurement.unit, columns), []).append(measurement)
    for (unit, columns), group in groups.items():
        if len(group) == 1 and len(columns) > 6:
            yield _tall_table(unit, group[0])
        else:
            yield _wide_table(unit, columns, group)


def _wide_table(unit: str, columns: tuple[str, ...], group: list[Measurement]) -> list[str]:
    compared = [name for name in (FLOOR, SPEC) if {NONE, OURS, name} <= set(columns)]
    heads = [f"{unit} (median)", *columns, *(f"overhead ÷ {name}'s" for name in compared)]
    lines = [_row(heads), "|---" * len(heads) + "|"]
    for measurement in group:
        medians = {
            name: statistics.median(values)
            for name, values in measurement.samples.items()
            if values
        }
        cells = [_number(medians[name]) if name in medians else "" for name in columns]
        for name in compared:
            ratio = (medians[OURS] - medians[NONE]) / ((medians[name] - medians[NONE]) or 1e-9)
            cells.append(_number(ratio))
        lines.append(_row([measurement.name, *cells]))
    return lines


def _tall_table(unit: str, measurement: Measurement) -> list[str]:
    heads = [measurement.name, f"{unit} (median)"]
    compared = [name for name in (NONE, FLOOR) if name in measurement.samples]
    heads += [f"minus `{name}`" for name in compared]
    lines = [_row(heads), "|---" * len(heads) + "|"]
    medians = {name: statistics.median(values) for name, values in measurement.samples.items()}
    for name, value in medians.items():
        against = [f"{value - medians[other]:+.1f}" for other in compared]
        lines.append(_row([name, _number(value), *against]))
    return lines


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"
