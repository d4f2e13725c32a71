"""How soon the command starts, and how long an install holds its strongest lock."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

from benchmarks.bench import Bench
from benchmarks.contestants import install_ours
from benchmarks.measure import Measurement, interleave, timed
from step_audit.database import connect

START = "start of a command"
HELP, PYTHON = "step-audit --help", "python -c pass"
INSTALL = "install beside a past"
WHOLE, LOCKED = "whole", "strongest lock held"

# From the weakest on; no other is ever taken on the engine's tables.
_LOCKS = ("ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")


def measure(bench: Bench) -> list[Measurement]:
    """Measure both."""
    return [_measure_start(bench), _measure_install(bench)]


def _measure_start(bench: Bench) -> Measurement:
    def work(*command: str) -> float:
        return timed(
            lambda: subprocess.run([sys.executable, *command], check=True, capture_output=True)
        )

    works = {
        HELP: lambda: work("-m", "step_audit", "--help"),
        PYTHON: lambda: work("-c", "pass"),
    }
    return Measurement(START, "s", interleave(works, min(bench.scale.rounds, 15)))


def _measure_install(bench: Bench) -> Measurement:
    past = bench.past(bench.scale.past)
    samples: dict[str, list[float]] = {WHOLE: [], LOCKED: []}
    for _ in range(5):
        dsn = bench.clone(past, "installed")
        watcher = _Watcher(dsn)
        with connect(dsn) as conn:
            conn.execute("SELECT count(*) FROM tasker_workflow_step_transitions")
            watcher.start()
            samples[WHOLE].append(timed(lambda c=conn: install_ours(c)) * 1e3)  # type: ignore[misc]
        mode, held = watcher.stop()
        samples[LOCKED].append(held * 1e3)
    bench.drop("installed")
    bench.note(
        f"install beside {bench.scale.past:,} transitions: the strongest lock on the engine's "
        f"tables is {mode}; it is looked for without a pause, about every 0.2 ms."
    )
    return Measurement(INSTALL, "ms", samples)


class _Watcher:
    """Looks from another session how long locks on the engine's tables are held."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._seen: dict[str, tuple[float, float]] = {}
        self._ended = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def start(self) -> None:
        self._thread.start()
        self._ready.wait()

    def stop(self) -> tuple[str, float]:
        """The strongest lock, and the seconds from when it was first seen until it was last."""
        self._ended.set()
        self._thread.join()
        mode = max(self._seen, key=_LOCKS.index)
        first, last = self._seen[mode]
        return mode, last - first

    def _watch(self) -> None:
        with connect(self._dsn) as conn:
            tables = [
                row["oid"]
                for row in conn.execute(
                    "SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n "
                    "ON c.relnamespace = n.oid WHERE n.nspname = 'public' AND c.relkind = 'r'"
                )
            ]
            self._ready.set()
            while not self._ended.is_set():
                before = time.perf_counter()
                rows = conn.execute(
                    "SELECT DISTINCT mode FROM pg_locks "
                    "WHERE granted AND relation = ANY(%s) AND mode = ANY(%s)",
                    (tables, list(_LOCKS)),
                    prepare=True,
                ).fetchall()
                after = time.perf_counter()
                for row in rows:
                    first, _ = self._seen.get(row["mode"], (before, after))
                    self._seen[row["mode"]] = first, after
