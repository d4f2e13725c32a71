"""The demo's acts: a server, an engine with a past, the install, more traffic, a history."""

from __future__ import annotations

import os
import random
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import platformdirs
from psycopg.types.json import Jsonb

from step_audit.backfill import run_backfill
from step_audit.database import Connection, call, connect
from step_audit.demo.story import STEPS, Engine
from step_audit.embedded import EmbeddedServer, find_binaries, make_reachable
from step_audit.history import read_history
from step_audit.installer import install
from step_audit.render import HistoryFormat, write_history
from step_audit.sources import load_sources

_HERE = Path(__file__).parent
_SCHEMA = "public"
_PAST_TASKS = 40
_LIVE_TASKS = 10


def run_demo(say: Callable[[str], None], keep: bool) -> None:
    """Play the whole product on a fresh server; with ``keep`` it goes on running.

    A server that an earlier demo kept is removed with its data.

    Raises:
        RefusedError: the ``embedded`` extra is not installed.
    """
    with _server(keep) as server, connect(server.dsn()) as conn:
        say(f"PostgreSQL {conn.info.server_version // 10000} started in {server.folder}")
        for script in ("host.sql", "engine.sql"):
            conn.execute((_HERE / script).read_bytes())

        chance = random.Random(62)
        engine = Engine(chance, tuple(uuid.UUID(int=chance.getrandbits(128)) for _ in range(3)))
        yesterday = datetime.now(UTC) - timedelta(days=1)
        for number in range(_PAST_TASKS):
            _play(conn, engine, yesterday + timedelta(minutes=number), chance.choice((0, 0, 1)))
        say(f"a workflow engine has run {_PAST_TASKS} tasks without an audit")

        install(conn, load_sources(), _SCHEMA, lock_timeout="5s")
        *_, backfilled = run_backfill(conn, _SCHEMA)
        say(f"step-audit installed; backfill wrote {backfilled} audit rows for the past")

        for _ in range(_LIVE_TASKS - 1):
            _play(conn, engine, datetime.now(UTC), chance.choice((0, 0, 1)))
        task = _play(conn, engine, datetime.now(UTC) - timedelta(seconds=5), declines=1)
        (status,) = call(conn, _SCHEMA, "get_step_audit_status")
        say(
            f"{_LIVE_TASKS} more tasks have run: the trigger wrote "
            f"{status['audit_rows'] - backfilled} audit rows, no result lacks one"
            if status["unaudited"] == 0
            else f"{status['unaudited']} results lack their audit row"
        )

        say(f"\nhistory of task {task}:\n")
        write_history(read_history(conn, _SCHEMA, task=task), HistoryFormat.TABLE, sys.stdout)

        psql = f"{server.binaries / 'psql'} '{server.dsn()}'"
        if keep:
            say(f"\nThe server runs on. Go on with:\n\n  {psql}\n")
            say(f"  SELECT * FROM get_task_audit_history('{task}');")
        else:
            say("\nTo go on with psql, keep the server: step-audit demo --keep, then\n")
            say(f"  {psql}")


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


def _user_data() -> Path:
    # The server of a root user belongs to another one, who may not enter root's home.
    if os.geteuid() == 0:
        return Path("/var/lib/step-audit")
    return platformdirs.user_data_path("step-audit")


def _play(conn: Connection, engine: Engine, start: datetime, declines: int) -> uuid.UUID:
    with conn.transaction():
        steps = call(conn, _SCHEMA, "demo_create_task", p_step_names=list(STEPS))
    uuids = {step["step_name"]: step["workflow_step_uuid"] for step in steps}
    for transition in engine.play_task(uuids, steps[0]["correlation_id"], start, declines):
        call(
            conn,
            _SCHEMA,
            "demo_record_transition",
            p_step_uuid=transition.step_uuid,
            p_to_state=transition.to_state,
            p_metadata=Jsonb(transition.metadata),
            p_created_at=transition.at,
        )
    task: uuid.UUID = steps[0]["task_uuid"]
    return task
