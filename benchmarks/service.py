"""How fast the HTTP service answers: ``python -m benchmarks.service``.

On an embedded server, with results of about 1 KB. Prints the time of one reply with 10,000 records
of one step, the memory that the process of the service gained, and the median time of a
reply with 10 records beside that of the SQL function alone, taken in turns.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from step_audit.database import Connection, call, connect
from step_audit.demo.engine import Engine
from step_audit.embedded import EmbeddedServer, find_binaries, make_reachable
from step_audit.installer import install
from step_audit.sources import load_sources

MANY, FEW, ROUNDS = 10_000, 10, 300

RESULT = {"success": True, "metadata": {"execution_time_ms": 12}, "result": {"text": "x" * 900}}


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="step-audit-") as folder:
        Path(folder).chmod(0o755)
        binaries = make_reachable(find_binaries(), Path(folder))
        server = EmbeddedServer(Path(folder) / "server", binaries)
        server.create()
        try:
            with connect(server.dsn()) as conn:
                measure(conn, server)
        finally:
            server.stop()


def measure(conn: Connection, server: EmbeddedServer) -> None:
    """Fill a database, serve it, and time the replies."""
    Engine(conn).create_tables()
    install(conn, load_sources(), "public", "5s")
    many, few = record(conn, MANY), record(conn, FEW)
    conn.execute("ANALYZE")
    with service(server) as (url, process), httpx.Client(base_url=url, timeout=60) as http:
        timed(lambda: http.get(many).raise_for_status())
        before = resident_kib(process)
        times = [timed(lambda: http.get(many).raise_for_status()) for _ in range(5)]
        gained = resident_kib(process) - before
        size = len(http.get(many).content)
        print(f"{MANY} records, {size / 1e6:.1f} MB: median {statistics.median(times):.2f} s")
        print(f"memory gained by the service over 5 such replies: {gained} KiB")

        step = uuid.UUID(few.split("/")[-2])
        replies, functions = [], []
        for _ in range(ROUNDS):
            replies.append(timed(lambda: http.get(few).raise_for_status()))
            functions.append(
                timed(lambda: call(conn, "public", "get_step_audit_history", p_step_uuid=step))
            )
        reply, function = (statistics.median(taken) * 1000 for taken in (replies, functions))
        print(f"{FEW} records: reply p50 {reply:.2f} ms, SQL function p50 {function:.2f} ms")
        print(f"bar 3 x function + 2 ms = {3 * function + 2:.2f} ms")


def record(conn: Connection, results: int) -> str:
    """Write results of a new step; gives the path of its history."""
    (task, *_) = call(conn, "public", "demo_create_task", p_step_names=["benchmark"])
    tagged = json.dumps({"type": "EnqueueForOrchestration", "data": RESULT})
    for _ in range(results):
        call(
            conn,
            "public",
            "demo_record_transition",
            p_step_uuid=task["workflow_step_uuid"],
            p_to_state="enqueued_for_orchestration",
            p_metadata=json.dumps({"event": tagged, "worker_uuid": str(uuid.uuid4())}),
            p_created_at="now",
        )
    return f"/v1/tasks/{task['task_uuid']}/workflow_steps/{task['workflow_step_uuid']}/audit"


def timed(work: Callable[[], object]) -> float:
    """Seconds that ``work`` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def resident_kib(process: subprocess.Popen[str]) -> int:
    """Resident memory of a process, KiB (Linux)."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


@contextmanager
def service(server: EmbeddedServer) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """``step-audit serve`` in a process of its own: its URL and the process."""
    command = [sys.executable, "-m", "step_audit", "serve", "--port", "0", "--dsn", server.dsn()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1], process
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
