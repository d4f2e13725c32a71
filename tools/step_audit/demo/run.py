"""The demo's acts: a server, an engine with a past, install, more traffic, history, HTTP, proof."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from step_audit.cli.render import HistoryFormat, write_history
from step_audit.database import call, connect
from step_audit.demo.embedded import EmbeddedServer, find_binaries, is_reachable, make_reachable
from step_audit.demo.engine import SCHEMA, Engine
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
    """Play the whole product on a fresh server; with ``keep`` it goes on running.

    A server that an earlier demo kept is removed with its data.

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
        with _service(server) as url, AuditClient(url) as client:
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

        psql = f"{server.binaries / 'psql'} '{server.dsn()}'"
        if keep:
            say(f"\nThe server runs on. Go on with\n\n  {psql}\n\nand in it\n")
            say(f"  SELECT * FROM get_task_audit_history('{task.task_uuid}');")
        else:
            say(f"\nGo on with psql after step-audit demo --keep:\n\n  {psql}")


@contextmanager
def _server(keep: bool) -> Iterator[EmbeddedServer]:
    folder = _user_data()
    folder.mkdir(parents=True, exist_ok=True)
    server = EmbeddedServer(folder / "demo", make_reachable(find_binaries(), folder))
    server.remove()
    server.create()
    kept = False
    try:
        yield server
        kept = keep
    finally:
        if not kept:
            server.stop()


@contextmanager
def _service(server: EmbeddedServer) -> Iterator[str]:
    """``step-audit serve`` for the server; gives its URL."""
    command = [sys.executable, "-m", "step_audit", "serve", "--port", "0", "--dsn", server.dsn()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        try:
            yield service.stdout.readline().split()[-1]
        finally:
            service.terminate()


def _user_data() -> Path:
    folder = platformdirs.user_data_path("step-audit")
    return folder if is_reachable(folder / "demo") else Path("/var/lib/step-audit")
