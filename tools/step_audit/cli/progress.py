"""The backfill, and how far it is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import rich.progress
from rich.console import Console

from step_audit.cli.output import say
from step_audit.database import Connection, call, transaction
from step_audit.printing import printable
from step_audit.setup.backfill import Progress, run_backfill
from step_audit.signals import telling

_SECONDS_BETWEEN_LINES = 5.0


def backfill_with_progress(
    conn: Connection, schema: str, batch_size: int, pause: float = 0, quiet: bool = False
) -> Progress:
    """Run the backfill and show how far it is, unless it is to be quiet; gives what was done.

    Raises:
        NotInstalledError: nothing is installed.
    """
    with transaction(conn, as_owner_of=schema):
        (found,) = call(conn, schema, "get_step_audit_status")
    if not found["unaudited"]:
        if not quiet:
            say("backfill: nothing to do, every result has its audit row")
        return Progress()
    done = Progress()

    def batches() -> Iterator[Progress]:
        nonlocal done
        for step in run_backfill(conn, schema, batch_size, pause):
            done = step
            yield step

    with telling(
        lambda: f"{done.written} audit rows are written and stay. Go on with: step-audit backfill"
    ):
        show_progress(batches(), found["unaudited"], Console(quiet=quiet))
    return done


def show_progress(steps: Iterable[Progress], total: int, console: Console) -> None:
    """Follow a backfill of about ``total`` rows; then sum up."""
    start = time.monotonic()
    done = Progress()
    follow = _bar if console.is_terminal else _lines
    for done in follow(steps, total, console):
        if done.holders:
            _say(console, f"backfill: waits for a lock, held by {done.holders}")
    elapsed = time.monotonic() - start
    _say(
        console,
        f"backfill: {done.written} audit rows in {elapsed:.1f} s "
        f"({_rate(done.written, elapsed)} rows/s)",
    )
    if done.passed_over:
        named = ", ".join(map(str, done.named))
        more = ", and more" if done.passed_over > len(done.named) else ""
        _say(
            console,
            f"backfill: {done.passed_over} results were passed over, as their step or task is "
            f"gone: transitions {named}{more}",
        )


def _bar(steps: Iterable[Progress], total: int, console: Console) -> Iterator[Progress]:
    start = time.monotonic()
    columns = (
        rich.progress.TextColumn("backfill"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TextColumn("rows, {task.fields[rate]} rows/s, left"),
        rich.progress.TimeRemainingColumn(),
    )
    with rich.progress.Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("backfill", total=total, rate=0)
        for done in steps:
            rate = _rate(done.written, time.monotonic() - start)
            progress.update(task, completed=done.written, rate=rate)
            yield done


def _lines(steps: Iterable[Progress], total: int, console: Console) -> Iterator[Progress]:
    start = printed = time.monotonic()
    for done in steps:
        now, rows = time.monotonic(), done.written
        if rows and now - printed >= _SECONDS_BETWEEN_LINES:
            printed = now
            rate = _rate(rows, now - start)
            left = max(total - rows, 0) / max(rate, 1)
            _say(console, f"backfill: {rows} of {total} rows, {rate} rows/s, {left:.0f} s left")
        yield done


def _say(console: Console, line: str) -> None:
    console.print(printable(line), markup=False, emoji=False, highlight=False, soft_wrap=True)


def _rate(rows: int, seconds: float) -> int:
    return round(rows / seconds) if seconds > 0 else 0
