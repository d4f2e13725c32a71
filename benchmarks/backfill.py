"""The backfill: its rate, what a writer feels of it, and the memory it takes."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg

from benchmarks import events
from benchmarks.bench import STEPS_PER_TASK, Bench, add_steps
from benchmarks.clients import PLAIN, Client, make_rows, running_clients
from benchmarks.contestants import OURS, SPEC
from benchmarks.measure import Measurement, interleave, percentile, timed
from step_audit.database import Connection, connect
from step_audit.setup.backfill import Progress, run_backfill

WRITER = "p99 of a writer of 500 results/s"
ALONE, WITH_OURS, WITH_SPEC = "alone", "beside ours", "beside the specification's"
SERVER, CLIENT = "the server's process", "the command"
FIRST, LAST = "second tenth", "last tenth"

_PACE = 0.002


def rate(records: int) -> str:
    """The name of the measurement of a backfill of so many records."""
    return f"backfill of {records:,} records"


def memory(process: str, records: int) -> str:
    """The name of the measurement of a process's memory during such a backfill."""
    return f"memory of {process} during the {rate(records)}"


def measure(bench: Bench) -> list[Measurement]:
    """Measure all on copies of one past, and of a larger one a single run."""
    first, *larger = bench.scale.pasts
    taken = _measure_runs(bench, first, bench.scale.backfills)
    taken.append(_measure_writer(bench, bench.past(first)))
    for records in larger:
        taken += _measure_runs(bench, records, 1)
        bench.drop(bench.past(records))
    return taken


def _measure_runs(bench: Bench, records: int, rounds: int) -> list[Measurement]:
    """The specification's and ours by turns, each on a fresh copy; the last copy is ours."""
    past = bench.past(records)
    watched: list[_Memory] = []

    def run_spec(statement: bytes) -> float:
        with connect(_installed(bench, past, SPEC)) as conn:
            return timed(lambda: conn.execute(statement)) / records * 1e6

    def run_ours() -> float:
        dsn = _installed(bench, past, OURS)
        watched.append(_Memory())
        return timed(lambda: watched[-1].watch(bench, dsn)) / records * 1e6

    rates: dict[str, list[float]] = {}
    for _ in range(rounds):
        if bench.lineup.spec_backfill is not None:
            statement = bench.lineup.spec_backfill.encode()
            rates.setdefault(SPEC, []).append(run_spec(statement))
        rates.setdefault(OURS, []).append(run_ours())
    with connect(bench.server.dsn("backfilled")) as conn:
        (row,) = conn.execute(
            "SELECT count(*) AS rows FROM tasker_workflow_step_result_audit"
        ).fetchall()
        assert row["rows"] == records
        conn.execute("VACUUM ANALYZE")
    # The backfilled database is what growth and reading begin with.
    bench.rename("backfilled", f"audited_{records}")
    return [
        Measurement(rate(records), "µs per record", rates),
        Measurement(memory(SERVER, records), "MiB", _tenths([run.server for run in watched])),
        Measurement(memory(CLIENT, records), "MiB", _tenths([run.client for run in watched])),
    ]


def _installed(bench: Bench, past: str, contestant: str) -> str:
    dsn = bench.clone(past, "backfilled")
    with connect(dsn) as conn:
        bench.lineup.contestants[contestant].install(conn)
    return dsn


class _Memory:
    """What the command and its server process take while it backfills, MiB, from time to time."""

    def __init__(self) -> None:
        self.server: list[float] = []
        self.client: list[float] = []

    def watch(self, bench: Bench, dsn: str) -> None:
        """Run the command to its end."""
        command = [sys.executable, "-m", "step_audit", "backfill", "--dsn", dsn]
        backend = None
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            while process.poll() is None:
                backend = backend or _find_backend(bench)
                if backend is not None:
                    self.server.append(_private_mib(backend))
                    self.client.append(_private_mib(process.pid))
                    # The command's first connection may have been seen, which ends soon.
                    backend = backend if self.server[-1] else None
                time.sleep(0.05)
            assert process.stderr is not None
            assert process.returncode == 0, process.stderr.read()


def _find_backend(bench: Bench) -> int | None:
    rows = bench.root.execute(
        "SELECT pid FROM pg_stat_activity "
        "WHERE datname = 'backfilled' AND application_name = 'step-audit'"
    ).fetchall()
    return rows[0]["pid"] if rows else None


def _tenths(runs: list[list[float]]) -> dict[str, list[float]]:
    """The most in the second and in the last tenth of each run."""
    found: dict[str, list[float]] = {FIRST: [], LAST: []}
    for run in runs:
        # The last looks may be at a process that had ended.
        values = [value for value in run if value]
        tenth = max(len(values) // 10, 1)
        found[FIRST].append(max(values[tenth : 2 * tenth]))
        found[LAST].append(max(values[-tenth:]))
    return found


def _private_mib(pid: int) -> float:
    """Memory of a process alone, without what it shares (Linux); 0 where it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return int((status.partition("RssAnon:")[2].split() or ["0"])[0]) / 1024


def _measure_writer(bench: Bench, past: str) -> Measurement:
    samples: dict[str, list[float]] = {}
    rounds = 7
    dsn = _with_steps(bench, past, OURS)
    with connect(dsn) as conn, connect(dsn) as other, running_clients(1) as (client,):
        batches = run_backfill(other, "public")
        works = {
            ALONE: lambda: _write(bench, client, conn, dsn),
            WITH_OURS: lambda: _write_beside(bench, client, conn, dsn, batches),
        }
        samples |= interleave(works, rounds, warm_up=1)
    if bench.lineup.spec_backfill is not None:
        dsn = _with_steps(bench, past, SPEC)
        with connect(dsn) as conn, running_clients(1) as (client,):
            samples[WITH_SPEC] = _write_beside_statement(
                bench, client, conn, dsn, bench.lineup.spec_backfill
            )
    bench.drop("backfilled")
    return Measurement(WRITER, "µs", samples)


def _with_steps(bench: Bench, past: str, contestant: str) -> str:
    dsn = _installed(bench, past, contestant)
    with connect(dsn) as conn:
        add_steps(conn, bench.scale.steps // STEPS_PER_TASK * STEPS_PER_TASK)
    return dsn


def _prepare(bench: Bench, client: Client, conn: Connection, dsn: str) -> None:
    count = int(bench.scale.seconds / _PACE)
    sort_key = time.monotonic_ns() // 1_000_000 % 1_000_000_000
    rows = make_rows(conn, 1, count, sort_key, events.name("text", "1 KB"), events.RESULT)
    client.prepare(dsn, PLAIN, rows, _PACE)


def _finish(client: Client) -> float:
    return percentile([end - start for start, end in client.finish()], 0.99) * 1e6


def _write(bench: Bench, client: Client, conn: Connection, dsn: str) -> float:
    _prepare(bench, client, conn, dsn)
    client.start()
    return _finish(client)


def _write_beside(
    bench: Bench, client: Client, conn: Connection, dsn: str, batches: Iterator[Progress]
) -> float:
    _prepare(bench, client, conn, dsn)
    ended = threading.Event()
    rows: list[int] = []

    def backfill() -> None:
        while not ended.is_set():
            rows.append(next(batches, Progress(-1)).written)
            if rows[-1] < 0:
                return

    thread = threading.Thread(target=backfill)
    thread.start()
    client.start()
    value = _finish(client)
    ended.set()
    thread.join()
    if rows[-1] < 0:
        bench.note("The backfill ended before the writer: its p99 is of less than it should be.")
    return value


def _write_beside_statement(
    bench: Bench, client: Client, conn: Connection, dsn: str, statement: str
) -> list[float]:
    values: list[float] = []
    with connect(dsn) as other:

        def backfill() -> None:
            with suppress(psycopg.errors.QueryCanceled):
                other.execute(statement.encode())
            ended.set()

        ended = threading.Event()
        thread = threading.Thread(target=backfill)
        thread.start()
        while not ended.is_set() and len(values) < 5:
            value = _write(bench, client, conn, dsn)
            if not ended.is_set() or not values:
                values.append(value)
        other.cancel()
        thread.join()
    return values
