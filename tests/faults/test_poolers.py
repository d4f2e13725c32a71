"""Behind pgbouncer in transaction mode: nothing of ours is left in a session that others use."""

from __future__ import annotations

import asyncio
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from step_audit import (
    AsyncAuditClient,
    AuditClient,
    EventType,
    StepEvent,
    StepResultProcessor,
    StepStateMachine,
    find_by_uuid,
    get_audit_history,
    get_task_audit_history,
    list_audits,
)
from step_audit.cli.cli import app
from step_audit.database import Connection, call, connect
from step_audit.read.web import create_app
from step_audit.setup.backfill import run_backfill
from tests.fix_pgbouncer import NewPooler
from tests.support.command import step_audit
from tests.support.host import HOST, OK, Transition, create_steps, insert_together
from tests.support.results import record_results
from tests.support.roles import login_roles
from tests.support.service import running_command, serving
from tests.support.stopping import (
    IMPATIENT,
    end,
    line,
    locked,
    sockets,
    started,
    stop,
    wait_for,
    waiting,
)
from tests.trust.attacks import AUDIT

# More often than psycopg executes a query before it prepares it.
OFTEN = 7

# What pgbouncer itself sets for each of its clients.
ITS_OWN = ["application_name", "client_encoding", "DateStyle", "TimeZone"]


@dataclass(frozen=True)
class Neighbour:
    """The engine: another client of the same pool, which has one session for all of them."""

    dsn: str
    conn: Connection

    def session(self) -> dict[str, Any]:
        """All that a client may leave behind."""
        kinds = {
            "settings": "SELECT name, setting FROM pg_settings WHERE name <> ALL(%(its_own)s)",
            "statements": "SELECT name FROM pg_prepared_statements",
            "cursors": "SELECT name FROM pg_cursors WHERE is_holdable",
            "locks": "SELECT objid FROM pg_locks WHERE locktype = 'advisory'",
            "channels": "SELECT pg_listening_channels()",
            "tables": "SELECT relname FROM pg_class WHERE relpersistence = 't'",
            "roles": "SELECT session_user, current_user",
            "session": "SELECT pg_backend_pid()",
        }
        with self.conn.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
            # PL/pgSQL brings settings of its own into each session that uses it.
            cursor.execute("DO 'BEGIN END'")
            return {
                kind: sorted(cursor.execute(query.encode(), {"its_own": ITS_OWN}).fetchall())
                for kind, query in kinds.items()
            }

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """After the block the session is as before it, and the engine goes on recording."""
        before = self.session()
        assert {kind for kind, found in before.items() if found} == {"settings", "roles", "session"}
        yield
        assert self.session() == before
        self.record_result()

    def record_result(self) -> None:
        """Go on as the engine does.

        Not by executemany: after its pipeline pgbouncer 1.18 now and then keeps the session.
        """
        insert_together(self.conn, [Transition(create_steps(self.conn)[0], OK, "{}", 1)])


def pool_for(database: Connection, new_pooler: NewPooler, connections: int = 1) -> str:
    """A pool whose sessions find all, though no start-up option comes through it."""
    path = f"ALTER DATABASE {database.info.dbname} SET search_path = {', '.join(HOST.schemas)}"
    database.execute(path.encode())
    return new_pooler(database, connections)


@pytest.fixture
def neighbour(conn: Connection, new_pooler: NewPooler) -> Iterator[Neighbour]:
    with neighbour_in(conn, new_pooler) as found:
        yield found


@contextmanager
def neighbour_in(database: Connection, new_pooler: NewPooler) -> Iterator[Neighbour]:
    # None of these is what a transaction of ours pins.
    for name, value in (
        ("default_transaction_isolation", "repeatable read"),
        ("statement_timeout", "5min"),
        ("idle_in_transaction_session_timeout", "6min"),
    ):
        setting = f"ALTER DATABASE {database.info.dbname} SET {name} = '{value}'"
        database.execute(setting.encode())
    dsn = pool_for(database, new_pooler)
    with psycopg.connect(
        dsn, autocommit=True, prepare_threshold=None, row_factory=dict_row
    ) as conn:
        yield Neighbour(dsn, conn)


def test_no_command_leaves_anything(
    host: Connection, new_pooler: NewPooler, tmp_path: Path
) -> None:
    key, note, older = (str(tmp_path / name) for name in ("key", "note", "older"))
    public = step_audit("keygen", "example.com/audit", "--out", key).out.strip()
    signed = ["--checkpoint", note, "--public-key", public]
    with neighbour_in(host, new_pooler) as neighbour:
        record_results(host, 3)
        ran = set()

        def run(*arguments: str) -> str:
            with neighbour.undisturbed():
                done = step_audit(*arguments, "--dsn", neighbour.dsn)
                assert (done.code, done.err) == (0, ""), arguments
            ran.add(arguments[0])
            return done.out

        run("install", "--dry-run")
        run("install", "--no-backfill")
        run("backfill", "--batch-size", "1")
        run("install")
        run("status")
        run("seal")
        run("checkpoint", "--key", key, "--out", older, "--first")
        record_results(host, 1)
        run("seal")
        run("checkpoint", "--key", key, "--out", note, "--after", older)
        run("consistency", older, note, "--public-key", public)
        run("verify")
        run("verify", *signed, "--repair")
        run("watch", "--once")
        audit = list_audits(neighbour.conn).items[-1]
        for read in (
            ("history", str(audit.workflow_step_uuid)),
            ("history", "--task", str(audit.task_uuid)),
            ("list", "--task", str(audit.task_uuid), "--all"),
            ("changes", "--from", "2026-01-01"),
            ("export", "--out", str(tmp_path / "log.jsonl")),
            ("evidence", "--sample", "2", *signed, "--out", str(tmp_path / "evidence.zip")),
        ):
            run(*read)
        run("prove", str(audit.workflow_step_result_audit_uuid), *signed)
        run("prove", "--task", str(audit.task_uuid), "--out", str(tmp_path), *signed)
        (step,) = create_steps(host)
        cancelled = Transition(step, "cancelled", "{}", 1, "pending")
        insert_together(host, [cancelled])
        run("actions", "--unattributed")
        run("attribute", str(cancelled.transition_uuid), "--operator", "ann")
        held = run("hold", "--task", str(step.task_uuid), "--reason", "litigation").split()[1]
        run("holds")
        run("release", held, "--reason", "settled")
        run("purge", "--before", "2020-01-01", "--reason", "old", "--dry-run")
        run("purge", "--before", "2020-01-01", "--reason", "old")
        run("seal")
        run("erase", "--task", str(step.task_uuid), "--reason", "request 62", "--yes")
        with login_roles(host, "reader"):
            run("grant", "reader", "--as", "reader")
        run("detach")
        run("attach")
        run("uninstall", "--yes")

    without_database = {"sql", "build-extension", "keygen", "verify-proof", "verify-evidence"}
    # The demo has a server of its own; serve has the tests below.
    names = {(c.name or c.callback.__name__).replace("_", "-") for c in app.registered_commands}  # type: ignore[union-attr]
    assert ran == names - without_database - {"demo", "serve"}


def test_a_command_that_fails_leaves_nothing(host: Connection, new_pooler: NewPooler) -> None:
    with neighbour_in(host, new_pooler) as neighbour:
        for command in ("status", "backfill", "seal", "verify", "uninstall --yes"):
            with neighbour.undisturbed():
                assert step_audit(*command.split(), "--dsn", neighbour.dsn).code == 3
        neighbour.conn.execute(f"ALTER TABLE {HOST.tasks} RENAME TO elsewhere".encode())
        before = neighbour.session()
        assert step_audit("install", "--dsn", neighbour.dsn).code == 3
        assert neighbour.session() == before


def ask_all(address: str, audit: Any) -> None:
    """Each method of the client, of both, and what a monitoring system asks."""
    for path in ("/readyz", "/metrics"):
        reply = httpx.get(f"{address}{path}", timeout=30)
        assert reply.status_code == 200
        assert "step_audit_up 0" not in reply.text
    step, task = audit.workflow_step_uuid, audit.task_uuid
    with AuditClient(address) as client:
        assert client.get_step_audit_history(task, step)
        assert client.get_task_audit_history(task)
        assert list(client.list_audits(limit=2))

    async def ask() -> None:
        async with AsyncAuditClient(address) as client:
            assert await client.get_step_audit_history(task, step)
            assert await client.get_task_audit_history(task)
            assert [each async for each in client.list_audits(limit=2)]

    asyncio.run(ask())
    key = audit.workflow_step_result_audit_uuid
    for path in (f"/v1/audit/{key}", "/health"):
        assert httpx.get(f"{address}{path}", timeout=30).status_code == 200
    assert httpx.get(f"{address}/v1/tasks/{uuid.uuid4()}/audit", timeout=30).status_code == 404


def test_the_service_leaves_nothing_while_it_runs_or_after(
    conn: Connection, neighbour: Neighbour
) -> None:
    record_results(conn, 3)
    audit = list_audits(neighbour.conn).items[0]
    with neighbour.undisturbed(), running_command("--dsn", neighbour.dsn) as address:
        for _ in range(OFTEN):
            with neighbour.undisturbed():
                ask_all(address, audit)


def test_a_reply_that_is_left_or_fails_leaves_nothing(
    conn: Connection, neighbour: Neighbour
) -> None:
    (step,) = create_steps(neighbour.conn)
    insert_together(
        neighbour.conn,
        [Transition(step, OK, f'{{"event": "{"x" * 50000}"}}', number) for number in range(100)],
    )
    paths = [
        f"/v1/tasks/{step.task_uuid}/workflow_steps/{step.step_uuid}/audit",
        f"/v1/tasks/{step.task_uuid}/audit",
    ]
    settings = neighbour.session()["settings"]
    with serving(create_app(neighbour.dsn)) as address:
        for path in paths:
            with httpx.stream("GET", f"{address}{path}", timeout=30) as reply:
                assert next(reply.iter_bytes())
            # pgbouncer closes a session whose client left within a transaction.
            assert neighbour.session()["settings"] == settings
            neighbour.record_result()
            assert len(httpx.get(f"{address}{path}", timeout=30).json()) == 100
    with serving(create_app(neighbour.dsn, statement_timeout="50ms")) as address:
        for _ in range(OFTEN):
            with neighbour.undisturbed(), conn.transaction():
                conn.execute("LOCK TABLE tasker_workflow_step_result_audit")
                assert httpx.get(f"{address}{paths[0]}", timeout=30).status_code == 503


@pytest.mark.parametrize("autocommit", [True, False])
def test_the_library_leaves_nothing_of_its_own(
    conn: Connection, neighbour: Neighbour, autocommit: bool
) -> None:
    result = record_results(conn, 3)[0]
    step, task = result.step.step_uuid, result.step.task_uuid
    readers: list[Callable[[Any], Any]] = [
        lambda client: get_audit_history(client, step),
        lambda client: get_task_audit_history(client, task),
        lambda client: find_by_uuid(client, uuid.uuid4()),
        lambda client: list_audits(client, limit=2),
    ]

    async def read(dsn: str) -> None:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=autocommit) as client:
            for reader in readers:
                for _ in range(OFTEN):
                    with neighbour.undisturbed():
                        await reader(client)
            for _ in range(OFTEN):
                with neighbour.undisturbed():
                    assert [a async for a in get_task_audit_history.stream(client, task)]
                async with aclosing(get_task_audit_history.stream(client, task)) as left:
                    await anext(left)

    with neighbour.undisturbed():
        with psycopg.connect(neighbour.dsn, autocommit=autocommit) as client:
            for reader in readers:
                for _ in range(OFTEN):
                    with neighbour.undisturbed():
                        reader(client)
        asyncio.run(read(neighbour.dsn))


@pytest.mark.parametrize("autocommit", [True, False])
def test_state_machine_and_processor_leave_nothing(neighbour: Neighbour, autocommit: bool) -> None:
    with (
        neighbour.undisturbed(),
        psycopg.connect(neighbour.dsn, autocommit=autocommit) as client,
    ):
        machine, worker = StepStateMachine(client), StepResultProcessor(client)
        for step in create_steps(neighbour.conn, OFTEN):
            with neighbour.undisturbed():
                machine.transition(step.step_uuid, StepEvent(EventType.START))
                worker.handle_send_step_result({"step_uuid": step.step_uuid, "success": True})
                assert machine.state(step.step_uuid) == OK


def test_a_callers_settings_and_transaction_stay_his(conn: Connection) -> None:
    (step,) = create_steps(conn)
    kept = "SELECT name, setting FROM pg_settings ORDER BY name"
    with psycopg.connect(conn.info.dsn, row_factory=dict_row) as client:
        client.execute(
            "SET statement_timeout = '7s'; SET default_transaction_isolation = 'serializable'"
        )
        client.execute("DO 'BEGIN END'")
        client.commit()
        client.execute("SET LOCAL lock_timeout = '8s'")
        before = client.execute(kept).fetchall()
        list_audits(client)
        StepStateMachine(client).transition(step.step_uuid, StepEvent(EventType.START))
        assert client.execute(kept).fetchall() == before
        client.rollback()


def backfill_by_command(dsn: str) -> None:
    with connect(dsn) as conn:
        assert list(run_backfill(conn, HOST.audit_schema, batch_size=10))


def backfill_by_procedure(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("CALL backfill_step_result_audit(10)", prepare=False)


@pytest.mark.parametrize("connections", [1, 2])
@pytest.mark.parametrize("backfill", [backfill_by_command, backfill_by_procedure])
def test_the_backfill_goes_on_beside_live_writers_of_its_pool(
    host: Connection, new_pooler: NewPooler, backfill: Callable[[str], None], connections: int
) -> None:
    steps = create_steps(host, 10)
    insert_together(host, [Transition(steps[n % 10], OK, "{}", n) for n in range(400)])
    dsn = pool_for(host, new_pooler, connections)
    assert step_audit("install", "--no-backfill", "--dsn", dsn).code == 0
    done = threading.Event()

    def write(writer: int) -> int:
        with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as engine:
            number = 400
            while not done.is_set() or number == 400:
                insert_together(engine, [Transition(steps[writer], OK, "{}", number)])
                number += 1
        return number - 400

    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(write, writer) for writer in range(3)]
        try:
            backfill(dsn)
        finally:
            done.set()
        written = sum(writer.result() for writer in writers)
    (status,) = call(host, HOST.audit_schema, "get_step_audit_status")
    assert (status["unaudited"], status["audit_rows"]) == (0, 400 + written)
    with neighbour_in(host, new_pooler) as neighbour, neighbour.undisturbed():
        backfill(neighbour.dsn)


def test_a_command_that_waits_for_a_lock_behind_a_pooler_says_so(
    conn: Connection, new_pooler: NewPooler
) -> None:
    dsn = pool_for(conn, new_pooler, connections=2)
    with locked(conn, AUDIT), started("seal", "--dsn", dsn, program=IMPATIENT) as process:
        said = line(process)
        done, _ = stop(process, signal.SIGTERM)
    assert said.startswith(
        "step-audit: this command, or another behind the same pooler, waits for a lock, "
    )
    assert f" on {HOST.audit_schema}.{AUDIT}, behind process " in said
    assert done.code == 143


def test_a_command_that_has_the_poolers_only_connection_goes_on(
    conn: Connection, new_pooler: NewPooler
) -> None:
    record_results(conn, 1)
    dsn = pool_for(conn, new_pooler)
    with ExitStack() as lock:
        lock.enter_context(locked(conn, AUDIT))
        with started("seal", "--dsn", dsn, program=IMPATIENT) as process:
            wait_for(lambda: len(waiting(conn)) == 1, process)
            # Its look has come to the pooler, and waits there.
            wait_for(lambda: sockets(process.pid) == 2, process)
            lock.close()
            done = end(process)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("sealed 1 records")
