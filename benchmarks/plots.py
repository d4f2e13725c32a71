"""The plots, as SVG; none where matplotlib is not installed."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import breakdown, events, hot_path, instructions, size
from benchmarks.bars import Bar
from benchmarks.contestants import FLOOR, NONE, OURS, PEER, SPEC
from benchmarks.measure import Estimate, Measurement

_COLOURS = {FLOOR: "#8a8a8a", SPEC: "#d08a2e", OURS: "#1f6f8b", PEER: "#a34a6a"}

Measured = dict[str, Measurement]


def draw(
    folder: Path, measured: Measured, judged: list[tuple[Bar, Estimate | None]]
) -> dict[str, str]:
    """Draw all that can be drawn of a run; gives titles by file name."""
    try:
        import matplotlib  # noqa: PLC0415
        from matplotlib import pyplot  # noqa: PLC0415
    except ImportError:
        return {}
    matplotlib.use("svg")
    # The same numbers give the same file.
    matplotlib.rcParams.update({"svg.hashsalt": "step-audit", "svg.fonttype": "none"})
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {}
    for name, title, paint in _plots(measured, judged):
        figure, axes = pyplot.subplots(figsize=(8, 4.2), layout="constrained")
        paint(axes)
        axes.set_title(title)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
        pyplot.close(figure)
        drawn[f"{name}.svg"] = title
    return drawn


def draw_instructions(folder: Path, measured: Measured) -> bool:
    """Draw what is added to results of several kinds; false where nothing was counted, or drawn."""
    kinds = (instructions.TEXT, instructions.OBJECT, instructions.SHORT)
    rows = [instructions.name(kind, instructions.EACH) for kind in kinds]
    if any(row not in measured for row in rows):
        return False
    try:
        import matplotlib  # noqa: PLC0415
        from matplotlib import pyplot  # noqa: PLC0415
    except ImportError:
        return False
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "step-audit", "svg.fonttype": "none"})
    folder.mkdir(parents=True, exist_ok=True)
    figure, axes = pyplot.subplots(figsize=(8, 3), layout="constrained")
    names = [name for name in (FLOOR, SPEC, OURS) if name in measured[rows[0]].samples]
    for place, name in enumerate(names):
        values = [_overhead(measured, row, name) for row in rows]
        at = [row + place * 0.27 for row in range(len(rows))]
        drawn = axes.bar(at, values, 0.25, label=name, color=_COLOURS[name])
        axes.bar_label(drawn, fmt="%.0f", fontsize=8)
    axes.set_xticks([row + 0.27 for row in range(len(rows))], [kind.name for kind in kinds])
    axes.set_ylabel("thousands of instructions")
    axes.legend(frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(folder / "instructions.svg", metadata={"Date": None})
    pyplot.close(figure)
    return True


Paint = Callable[[Any], None]


def _plots(
    measured: Measured, judged: list[tuple[Bar, Estimate | None]]
) -> Iterator[tuple[str, str, Paint]]:
    known = [(bar, found) for bar, found in judged if found is not None]
    if known:
        yield "bars", "Each bar: what was measured, 1 is the limit, shorter is better", _bars(known)
    if hot_path.ONE_KB in measured:
        yield (
            "single_row",
            "One result of 1 KB: microseconds added to a transition",
            _single(measured),
        )
    if hot_path.single("text", "256 KB") in measured:
        yield "event_size", "Text events by size: microseconds added", _by_size(measured)
    if breakdown.PARTS in measured:
        yield "parts", "What each part of an audit row costs, microseconds", _parts(measured)
    if size.TOTAL in measured:
        yield "size", "Bytes per record, by table and index", _sizes(measured)


def _median(measured: Measured, measurement: str, contestant: str) -> float:
    return statistics.median(measured[measurement].samples[contestant])


def _overhead(measured: Measured, measurement: str, contestant: str) -> float:
    return _median(measured, measurement, contestant) - _median(measured, measurement, NONE)


def _bars(known: list[tuple[Bar, Estimate]]) -> Paint:
    def paint(axes: Any) -> None:
        axes.figure.set_size_inches(10, 0.9 + 0.27 * len(known))
        for place, (bar, found) in enumerate(reversed(known)):
            length = bar.limit / found.value if bar.at_least else found.value / (bar.limit or 1)
            colour = _COLOURS[OURS] if bar.is_met(found.value) else "#b03a2e"
            axes.barh(place, min(length, 2.5), color=colour)
        axes.set_yticks(range(len(known)), [bar.name for bar, _ in reversed(known)], fontsize=7)
        axes.axvline(1, color="black", linewidth=1)

    return paint


def _single(measured: Measured) -> Paint:
    def paint(axes: Any) -> None:
        names = [name for name in _COLOURS if name in measured[hot_path.ONE_KB].samples]
        values = [_overhead(measured, hot_path.ONE_KB, name) for name in names]
        drawn = axes.bar(names, values, color=[_COLOURS[name] for name in names])
        axes.bar_label(drawn, fmt="%.0f")
        axes.set_ylabel("µs")

    return paint


def _by_size(measured: Measured) -> Paint:
    def paint(axes: Any) -> None:
        sizes = list(events.SIZES)
        for name in (FLOOR, SPEC, OURS):
            if name not in measured[hot_path.single("text", sizes[0])].samples:
                continue
            values = [_overhead(measured, hot_path.single("text", key), name) for key in sizes]
            axes.plot(sizes, values, marker="o", label=name, color=_COLOURS[name])
        axes.set_yscale("log")
        axes.set_ylabel("µs")
        axes.legend(frameon=False)

    return paint


def _parts(measured: Measured) -> Paint:
    def paint(axes: Any) -> None:
        samples = measured[breakdown.PARTS].samples
        parts = [name for name in samples if name not in (NONE, FLOOR)]
        whole = _median(measured, breakdown.PARTS, FLOOR)
        saved = [whole - _median(measured, breakdown.PARTS, part) for part in parts]
        axes.figure.set_size_inches(8, 0.9 + 0.27 * len(parts))
        drawn = axes.barh(parts[::-1], saved[::-1], color=_COLOURS[FLOOR])
        axes.bar_label(drawn, fmt="%.1f", fontsize=7)
        axes.tick_params(axis="y", labelsize=7)

    return paint


def _sizes(measured: Measured) -> Paint:
    import matplotlib  # noqa: PLC0415

    def paint(axes: Any) -> None:
        # The peer's copies of rows would hide the others; they stand in the table.
        names = [name for name in (SPEC, OURS) if name in measured[size.TOTAL].samples]
        colours = map(matplotlib.colormaps["tab20"], itertools.count())
        bottoms = dict.fromkeys(names, 0.0)
        for row, measurement in measured.items():
            if row != size.HEAP and not row.startswith("of them: "):
                continue
            values = [measurement.samples.get(name, [0.0])[0] for name in names]
            if not any(values):
                continue
            label = row.removeprefix("of them: ")
            bottom = list(bottoms.values())
            axes.bar(names, values, 0.5, bottom, label=label, color=next(colours))
            bottoms = {
                name: bottoms[name] + value for name, value in zip(names, values, strict=True)
            }
        for name, total in bottoms.items():
            axes.annotate(f"{total:.0f}", (name, total), ha="center", va="bottom")
        axes.set_ylabel("bytes")
        axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))

    return paint
