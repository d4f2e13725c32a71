"""The demo's acts: a server, an engine with a past, install, more traffic, history, HTTP, proof."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from step_audit.cli.render import HistoryFormat, write_history
from step_audit.database import call, connect
from step_audit.demo.embedded import EmbeddedServer, find_binaries, is_reachable, make_reachable
from step_audit.demo.engine import SCHEMA, Engine
from step_audit.demo.service import Service
from step_audit.read.client import AuditClient
from step_audit.read.history import read_history
from step_audit.setup.backfill import run_backfill
from step_audit.setup.installer import install
from step_audit.setup.sources import load_sources
from step_audit.trust.note import generate_key
from step_audit.trust.signing import make_checkpoint
from step_audit.trust.verify import open_signed, verify

PAST_TASKS = 40
LIVE_TASKS = 10


def run_demo(say: Callable[[str], None], keep: bool) -> None:
    """Play the whole product on a fresh server; with ``keep`` it runs on, with its service.

    A server that an earlier demo kept is removed with its data, and its service ends.

    Raises:
        RefusedError: the ``embedded`` extra is not installed.
    """
    with _server(keep) as server, connect(server.dsn()) as conn:
        say(f"PostgreSQL {conn.info.server_version // 10000} started in {server.folder}")
        engine = Engine(conn)
        engine.create_tables()
        engine.play_past(PAST_TASKS)
        say(f"a workflow engine has run {PAST_TASKS} tasks without an audit")

        install(conn, load_sources())
        *_, done = run_backfill(conn, SCHEMA)
        backfilled = done.written
        say(f"step-audit installed; backfill wrote {backfilled} audit rows for the past")

        task = engine.play_live(LIVE_TASKS)
        (status,) = call(conn, SCHEMA, "get_step_audit_status")
        written = status["audit_rows"] - backfilled
        say(f"{LIVE_TASKS} more tasks have run: the trigger wrote {written} audit rows")
        say(f"results without an audit row: {status['unaudited']}")

        say(f"\nhistory of task {task.task_uuid}:\n")
        history = read_history(conn, SCHEMA, task=task.task_uuid)
        write_history(history, HistoryFormat.TABLE, sys.stdout)

        step = task.steps["charge_card"]
        url = Service(server).start()
        with AuditClient(url) as client:
            say("\nthe same of its charge_card step over HTTP, in part:\n")
            for audit in client.get_step_audit_history(task.task_uuid, step):
                say(audit.model_dump_json(include={"recorded_at", "worker_uuid", "success"}))

        (sealed,) = call(conn, SCHEMA, "seal_step_result_audit")
        key = generate_key("example.com/demo")
        note = make_checkpoint(conn, SCHEMA, key.to_text()).note
        signed = open_signed(note, None, key.verifier.to_text())
        found = verify(conn, SCHEMA, signed=signed).findings
        records = sealed["sealed"]
        say(f"\nsealed {records} records, signed a checkpoint; verify: {len(found)} findings")
        with conn.transaction(force_rollback=True):
            engine.rewrite_result(step)
            found = verify(conn, SCHEMA, signed=signed).findings
        say("somebody switches the triggers off and rewrites that result; verify names its record:")
        for finding in found:
            say(f"{finding.finding}, audit {finding.workflow_step_result_audit_uuid}")

        psql = shlex.join(
            [str(server.binaries / "psql"), "-h", str(server.folder), "-U", "postgres", "postgres"]
        )
        if not keep:
            say(f"\nGo on with psql, and in a browser, after step-audit demo --keep:\n\n  {psql}")
            return
        say("\nServer and service run on. Look at that task in a browser\n")
        say(f"  {url}/tasks/{task.task_uuid}")
        say(f"\nor go on with\n\n  {psql}\n\nand in it\n")
        say(f"  SELECT * FROM get_task_audit_history('{task.task_uuid}');")
        say("\nstep-audit demo --stop ends both.")


def stop_demo(say: Callable[[str], None]) -> None:
    """Stop the server and the service of a demo that was kept; their data stays for the next.

    Raises:
        RefusedError: the ``embedded`` extra is not installed.
    """
    server = _demo_server()
    running = server.is_running()
    Service(server).stop()
    server.stop()
    say("the demo's server and service are stopped" if running else "no demo is running")


@contextmanager
def _server(keep: bool) -> Iterator[EmbeddedServer]:
    server = _demo_server()
    service = Service(server)
    service.stop()
    server.remove()
    server.create()
    kept = False
    try:
        yield server
        kept = keep
    finally:
        if not kept:
            service.stop()
            server.stop()


def _demo_server() -> EmbeddedServer:
    folder = _user_data()
    folder.mkdir(parents=True, exist_ok=True)
    return EmbeddedServer(folder / "demo", make_reachable(find_binaries(), folder))


def _user_data() -> Path:
    folder = platformdirs.user_data_path("step-audit")
    return folder if is_reachable(folder / "demo") else Path("/var/lib/step-audit")
