"""How fast the HTTP service answers, with results of about 1 KB.

The time of one reply with many records of one step, the memory that the service's process gained,
and the times of a reply with few records and of the page with a list, each beside that of the SQL
function alone, in turns.
"""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.contestants import install_ours
from benchmarks.measure import Measurement, interleave, timed
from step_audit.database import Connection, call, connect
from step_audit.demo.engine import Engine

FEW = 10
REPLY, FUNCTION = "reply", "SQL function"
SMALL = f"HTTP reply with {FEW} records"
LISTED = 100
LIST = f"page with a list of {LISTED} results"
GAINED = "memory that the service gained by 5 large replies"

RESULT = {"success": True, "metadata": {"execution_time_ms": 12}, "result": {"text": "x" * 900}}


def large(records: int) -> str:
    """The name of the measurement of a reply with so many records."""
    return f"HTTP reply with {records:,} records"


def measure(bench: Bench) -> list[Measurement]:
    """Fill a database, serve it, and time the replies; needs the extra ``web``."""
    import httpx  # noqa: PLC0415

    records = bench.scale.many
    name = "service"
    bench.drop(name)
    bench.root.execute(f"CREATE DATABASE {name}".encode())
    dsn = bench.server.dsn(name)
    with connect(dsn) as conn:
        Engine(conn).create_tables()
        install_ours(conn)
        many, few = _record(conn, records), _record(conn, FEW)
        conn.execute("ANALYZE")
        with _service(dsn) as (url, process), httpx.Client(base_url=url, timeout=60) as http:

            def reply(path: str) -> float:
                return timed(lambda: http.get(path).raise_for_status()) * 1e3

            reply(many)
            before = _resident_mib(process)
            times = [reply(many) for _ in range(5)]
            gained = _resident_mib(process) - before
            step = uuid.UUID(few.split("/")[-2])
            works = {
                REPLY: lambda: reply(few),
                FUNCTION: lambda: (
                    timed(lambda: call(conn, "public", "get_step_audit_history", p_step_uuid=step))
                    * 1e3
                ),
            }
            small = interleave(works, bench.scale.rounds * 4)
            works = {
                REPLY: lambda: reply("/results"),
                FUNCTION: lambda: (
                    timed(lambda: call(conn, "public", "list_step_audits", p_limit=LISTED + 1))
                    * 1e3
                ),
            }
            listed = interleave(works, bench.scale.rounds * 4)
    bench.drop(name)
    return [
        Measurement(SMALL, "ms", small),
        Measurement(LIST, "ms", listed),
        Measurement(large(records), "ms", {REPLY: times}),
        Measurement(GAINED, "MiB", {"service": [gained]}),
    ]


def _record(conn: Connection, results: int) -> str:
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


def _resident_mib(process: subprocess.Popen[str]) -> float:
    """Resident memory of a process (Linux)."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@contextmanager
def _service(dsn: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """``step-audit serve`` in a process of its own: its URL and the process."""
    command = [sys.executable, "-m", "step_audit", "serve", "--port", "0", "--dsn", dsn]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1], process
        finally:
            process.terminate()
