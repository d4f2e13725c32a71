"""Sealing and verifying: processor time of client and server for a record, and memory.

Processor time is Linux's: a backend's from ``schedstat``, a client's from ``process_time``. That of
a verification is of one process with one session, without the start of Python.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import events
from benchmarks.bench import Bench
from benchmarks.contestants import OURS
from benchmarks.measure import Measurement, timed
from step_audit.database import Connection, connect

SEAL, VERIFY = "seal: processor time for a record", "verify: processor time for a record"
STANDARD, FAST, FLOOR = "standard library", "orjson", "SELECT with sha256 of the same rows"
LEAF = "bytes per sealed record, log and its indexes"
MEMORY = "memory of the largest process of a verification"

_ROUNDS = 5

# What a seal cannot do without: the payload printed and hashed, and a leaf over it.
_BARE = """
SELECT count(sha256(convert_to(a::text, 'UTF8') || sha256(convert_to(t.metadata::text, 'UTF8'))))
FROM tasker_workflow_step_result_audit AS a
JOIN tasker_workflow_step_transitions AS t USING (workflow_step_transition_uuid)
"""

# Prints the processor time of client and backend, in s.
_VERIFY = """
import sys
from pathlib import Path
from time import process_time
from step_audit.database import connect
from step_audit.trust.verify import verify
if __name__ == "__main__":
    with connect(sys.argv[1]) as conn:
        file = Path(f"/proc/{conn.info.backend_pid}/schedstat")
        server, client = int(file.read_text().split()[0]), process_time()
        report = verify(conn, workers=int(sys.argv[2]) or None)
        client = process_time() - client
        server = int(file.read_text().split()[0]) - server
    print(client + server / 1e9)
    sys.exit(report.findings != () or report.counts.compared != int(sys.argv[3]))
"""

_LOG = """
SELECT sum(pg_total_relation_size(c.oid)) AS bytes
FROM pg_class AS c
WHERE
    c.relkind = 'r'
    AND c.relname IN (
        'step_audit_leaves', 'step_audit_salts', 'step_audit_subtrees', 'step_audit_seals'
    )
"""


def once(work: str, records: int) -> str:
    """The name of the measurement of sealing or verifying so many records, once."""
    return f"{work} of {records:,} records of 0.3 KB"


@dataclass(frozen=True)
class _Cost:
    """Of one verification: of the clock and of processors in s, of its largest process in MiB."""

    seconds: float
    processor: float
    memory: float


def measure(bench: Bench) -> list[Measurement]:
    """Seal and verify results of 1 KB in turns of equal size, and the largest past once."""
    part, records = bench.scale.trust, 0
    seal: dict[str, list[float]] = {OURS: [], FLOOR: []}
    verified: dict[str, list[float]] = {STANDARD: []}
    if importlib.util.find_spec("orjson") is not None:
        verified[FAST] = []
    with bench.targets(OURS) as targets:
        target = targets[OURS]
        conn = target.conn
        together = min(1000, target.steps)
        records += _seal(conn)
        for _ in range(_ROUNDS):
            for _ in range(part // together):
                target.write_together(events.name("text", "1 KB"), events.RESULT, together)
            conn.execute("VACUUM ANALYZE")
            records += part
            seal[OURS].append(_processor_time(conn, lambda: _seal(conn)) / part * 1e6)
            bare = _processor_time(conn, lambda: conn.execute(_BARE).fetchall())
            seal[FLOOR].append(bare / records * 1e6)
            for name, costs in verified.items():
                cost = _verify(target.dsn, records, workers=1, fast=name == FAST)
                costs.append(cost.processor / records * 1e6)
        ((size,),) = [row.values() for row in conn.execute(_LOG).fetchall()]
    return [
        Measurement(SEAL, "µs", seal),
        Measurement(VERIFY, "µs", verified),
        Measurement(LEAF, "bytes", {OURS: [float(size) / records]}),
        *_measure_once(bench, bench.scale.pasts[-1]),
    ]


def _measure_once(bench: Bench, records: int) -> list[Measurement]:
    name = "sealed"
    dsn = bench.clone(bench.audited(records), name)
    with connect(dsn) as conn:
        sealed = timed(lambda: _seal(conn))
        conn.execute("VACUUM ANALYZE")
    cost = _verify(dsn, records, workers=0, fast=False)
    bench.drop(name)
    return [
        Measurement(once("seal", records), "records per second", {OURS: [records / sealed]}),
        Measurement(
            once("verify", records), "records per second", {OURS: [records / cost.seconds]}
        ),
        Measurement(MEMORY, "MiB", {OURS: [cost.memory]}),
    ]


def _seal(conn: Connection) -> int:
    """Seal what is there; gives the size of the log."""
    complete, size = False, 0
    while not complete:
        (sealed,) = conn.execute("SELECT * FROM seal_step_result_audit()").fetchall()
        complete, size = sealed["complete"], int(sealed["tree_size"])
    return size


def _processor_time(conn: Connection, work: Callable[[], object]) -> float:
    """Seconds that the connection's backend computes for ``work``."""
    file = Path(f"/proc/{conn.info.backend_pid}/schedstat")
    before = int(file.read_text().split()[0])
    work()
    return (int(file.read_text().split()[0]) - before) / 1e9


def _verify(dsn: str, records: int, *, workers: int, fast: bool) -> _Cost:
    """Verify in a process of its own; ``workers`` as many as are worth it where 0."""
    with tempfile.TemporaryDirectory() as folder:
        if not fast:
            (Path(folder) / "orjson.py").write_text("raise ImportError\n")
        script, printed = Path(folder) / "verify_all.py", Path(folder) / "printed"
        script.write_text(_VERIFY)
        done: list[tuple[int, resource.struct_rusage]] = []

        def run() -> None:
            with printed.open("w") as output:
                process = subprocess.Popen(
                    [sys.executable, script, dsn, str(workers), str(records)], stdout=output
                )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            done.append((process.returncode, usage))

        seconds = timed(run)
        ((code, usage),) = done
        assert code == 0, "there were findings"
        return _Cost(seconds, float(printed.read_text()), usage.ru_maxrss / 1024)
