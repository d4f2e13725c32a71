"""Measure everything, in about ten minutes: ``python -m benchmarks``.

Writes ``RESULTS.md``, its plots, and what was measured into a file for each major. A new run
replaces the old one of its major, with ``--only`` parts of it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from benchmarks import (
    backfill,
    breakdown,
    clients,
    commands,
    growth,
    hot_path,
    instructions,
    reading,
    report,
    results,
    service,
    size,
    trust,
)
from benchmarks.bench import FULL, LARGE, QUICK, Bench, Scale
from benchmarks.contestants import line_up
from benchmarks.results import Run, Section
from benchmarks.server import running_server

_HERE = Path(__file__).parent

_SECTIONS: dict[str, tuple[str, ModuleType]] = {
    "instructions": ("Instructions of a transition", instructions),
    "hot_path": ("A transition, inside the server", hot_path),
    "clients": ("A transition, from clients", clients),
    "breakdown": ("What each part costs", breakdown),
    "size": ("Bytes", size),
    "backfill": ("Backfill", backfill),
    "growth": ("Growth", growth),
    "reading": ("Reading", reading),
    "commands": ("Commands", commands),
    "service": ("HTTP", service),
    "trust": ("Sealing and verifying", trust),
}


def main() -> None:
    """Parse, measure, write."""
    options = _parse()
    scale = QUICK if options.quick else LARGE if options.large else FULL
    default = _HERE.parent / "build" / "benchmarks" if options.quick else _HERE
    folder: Path = options.output or default
    folder.mkdir(parents=True, exist_ok=True)
    kept = results.read(folder)
    if not options.report_only:
        only = ("instructions",) if options.instructions else tuple(options.only or ())
        for run in _run(options.pg, scale, options.spec, only or tuple(_SECTIONS)):
            # Section by section, so that an interrupted run is not lost.
            if only and run.key in kept:
                kept[run.key].sections |= run.sections
            else:
                kept[run.key] = run
            results.write(folder, kept)
        for bar, found in report.judge(run):
            if found is not None:
                print(f"{found.value:10.3g}  {report.verdict(bar, found):30} {bar.name}")
    report.write(folder / "RESULTS.md", kept)
    print(f"written: {folder / 'RESULTS.md'}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--pg", type=int, default=18, help="major version of the server (18)")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", action="store_true", help="small sizes, to try the benchmarks")
    sizes.add_argument(
        "--large",
        action="store_true",
        help="10 million records too: another half an hour and 40 GB",
    )
    parser.add_argument("--only", nargs="+", choices=_SECTIONS, help="measure these sections")
    parser.add_argument(
        "--instructions",
        action="store_true",
        help="count instructions, and measure nothing else: needs valgrind, five minutes",
    )
    parser.add_argument("--output", type=Path, help="folder to write to")
    parser.add_argument(
        "--report-only", action="store_true", help="measure nothing, write the report anew"
    )
    parser.add_argument(
        "--spec",
        type=Path,
        default=_HERE.parents[1] / "shared" / "spec" / "baseline_audit.sql",
        help="SQL of the specification's audit, beside its baseline_backfill.sql",
    )
    return parser.parse_args()


def _run(major: int, scale: Scale, spec: Path, names: tuple[str, ...]) -> Iterator[Run]:
    """Measure; gives the run after each section."""
    lineup = line_up(spec)
    with running_server(major) as server:
        bench = Bench(server, lineup, scale, major)
        machine = results.describe_machine(bench.root)
        run = Run(f"PostgreSQL {major}", scale.name, machine, list(lineup.notes))
        for name in names:
            title, module = _SECTIONS[name]
            start = time.perf_counter()
            bench.notes = []
            measurements = module.measure(bench)
            seconds = time.perf_counter() - start
            run.sections[name] = Section(
                title, measurements, bench.notes, seconds, machine["measured"]
            )
            print(f"{seconds:6.1f} s  {title}", flush=True)
            yield run


if __name__ == "__main__":
    main()
