"""An owner who puts his own functions, operators and types before the server's is not called.

The search_path of a database is its owner's to set. What a command sends before it has a path of
its own would run his code, with the rights of whoever runs the command.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from pytest_postgresql import factories

from step_audit.database import Connection, call, call_async, find_schema, find_schema_async
from step_audit.database import connect as connect_as_commands_do
from step_audit.waiting import telling_of_waits
from tests.support.command import psql, run, succeed
from tests.support.connect import connect, connect_again, dsn_of
from tests.support.host import HOST
from tests.support.install import install_audit
from tests.support.keys import write_key
from tests.support.results import record_results
from tests.support.roles import give_engine_to
from tests.support.sealed import SIGNER, VERIFIER_KEY
from tests.support.service import running_command
from tests.support.shadows import CALLED, OPTIONS, create_shadows
from tests.trust.world import AUDITOR, OWNER, create_owner, seal

AUDIT = "tasker_workflow_step_result_audit"
KEY = "workflow_step_result_audit_uuid"

WITHOUT_DATABASE = {"keygen", "verify-proof", "verify-evidence", "sql", "build-extension", "demo"}
"""Commands that connect to no database, or to one of their own."""


@dataclass
class Shadowed:
    """A superuser's connection of before, and where the server writes down what failed."""

    conn: Connection
    log: Path
    key: str
    folder: Path

    @property
    def dsn(self) -> str:
        """As a superuser gives it."""
        return dsn_of(self.conn)

    def one(self, column: str) -> str:
        """A column of some audit row."""
        (row,) = self.conn.execute(f"SELECT {column} AS it FROM {AUDIT} LIMIT 1".encode())
        return str(row["it"])


def load_shadows(**kwargs: Any) -> None:
    with psycopg.connect(**kwargs | {"autocommit": True, "options": OPTIONS}) as conn:
        create_shadows(conn)


shadows_template = factories.postgresql_noproc(
    dbname="shadows", depends_on="pg_server", load=[load_shadows]
)
shadowed_database = factories.postgresql("shadows_template")


@pytest.fixture
def shadowed(
    shadowed_database: psycopg.Connection[Any], pg_server: Any, tmp_path: Path
) -> Iterator[Shadowed]:
    with connect(shadowed_database.info.dsn) as conn:
        HOST.create(conn)
        create_owner(conn)
        conn.execute(f"ALTER SCHEMA evil OWNER TO {OWNER}".encode())
        give_engine_to(conn, OWNER)
        install_audit(conn)
        record_results(conn, 20)
        seal(conn)
        path = f"ALTER DATABASE {conn.info.dbname} SET search_path = evil, pg_catalog, public"
        conn.execute(path.encode())
        yield from watched(conn, pg_server.server.folder / "log", tmp_path)


def watched(conn: Connection, log: Path, folder: Path) -> Iterator[Shadowed]:
    before = len(log.read_bytes())
    with connect_as_commands_do(dsn_of(conn)) as other, pytest.raises(psycopg.Error, match=CALLED):
        other.execute("SELECT 'a'::pg_catalog.name = 'a'::pg_catalog.name")
    called = log.read_bytes()[before:].count(CALLED.encode())
    assert called
    key = write_key(folder / "audit.key", SIGNER)
    yield Shadowed(conn, log, key, folder / "checkpoints")
    lines = log.read_bytes()[before:].decode(errors="replace").splitlines()
    assert [line for line in lines if CALLED in line][called:] == []


def commands_in_order(at: Shadowed) -> Iterator[tuple[tuple[str, ...], int]]:
    """Each with its exit code."""
    record_results(at.conn, 3)
    yield ("install", "--no-backfill"), 0
    yield ("status",), 0
    yield ("seal",), 0
    yield ("backfill",), 0
    yield ("grant", AUDITOR, "--as", "auditor"), 0
    checkpoint = ("checkpoint", "--key", at.key)
    first, second = (str(at.folder.with_name(f"{name}.checkpoint")) for name in ("one", "two"))
    yield (*checkpoint, "--out", first, "--first"), 0
    record_results(at.conn, 3)
    yield ("seal",), 0
    yield (*checkpoint, "--out", second, "--after", first), 0
    public = ("--public-key", VERIFIER_KEY)
    yield ("consistency", first, second, *public), 0
    signed = ("--checkpoint", first, *public)
    yield ("prove", at.one(KEY), *signed), 0
    yield ("prove", "--task", at.one("task_uuid"), "--out", str(at.folder), *signed), 0
    yield ("history", at.one("workflow_step_uuid")), 0
    yield ("history", "--task", at.one("task_uuid")), 0
    yield ("list", "--task", at.one("task_uuid")), 0
    yield ("changes", "--all"), 0
    yield ("export", "--limit", "5"), 0
    yield ("evidence", "--sample", "2", *signed, "--out", f"{at.folder}.zip"), 0
    yield ("actions",), 0
    # There is no operator action to attribute.
    yield ("attribute", at.one("workflow_step_transition_uuid"), "--operator", "ann"), 3
    task = ("--task", at.one("task_uuid"), "--reason", "litigation")
    yield ("hold", *task, "--dry-run"), 0
    yield ("hold", *task), 0
    (row,) = call(at.conn, HOST.audit_schema, "list_step_audit_holds")
    yield ("release", str(row["hold"]), "--reason", "settled"), 0
    yield ("holds", "--all"), 0
    for table in (*HOST.own_audit, HOST.transitions):
        at.conn.execute(f"DELETE FROM {table}".encode())
    yield ("seal",), 0
    purge = ("purge", "--before", row["recorded_at"].isoformat(), "--reason", "old")
    yield (*purge, "--dry-run"), 0
    yield purge, 0
    erase = ("erase", "--record", at.one(KEY), "--reason", "request 62")
    yield (*erase, "--dry-run"), 0
    yield (*erase, "--yes"), 0
    # Refused, as somebody else owns what is read.
    yield ("verify",), 3
    yield ("watch", "--once"), 1
    yield ("detach",), 0
    yield ("attach",), 0
    yield ("uninstall", "--yes"), 0
    yield ("install", "--enforce-keys"), 0
    yield ("uninstall", "--yes", "--drop-data"), 0


def test_no_command_of_a_superuser_calls_them(shadowed: Shadowed) -> None:
    ran = {"serve"}
    for arguments, code in commands_in_order(shadowed):
        done = run(*arguments, to=shadowed.conn)
        assert CALLED not in done.out + done.err, arguments
        assert done.code == code, (arguments, done)
        ran.add(arguments[0])
    listed = re.findall(r"^  ([a-z][a-z-]+)  ", run("--help").out, re.MULTILINE)
    assert set(listed) - WITHOUT_DATABASE == ran


def test_no_verification_calls_them(shadowed: Shadowed) -> None:
    done = run("verify", "--dsn", dsn_of(shadowed.conn, user=AUDITOR))
    assert CALLED not in done.out + done.err
    assert (done.code, done.err) == (0, "")


def test_no_watch_calls_them(shadowed: Shadowed) -> None:
    succeed("grant", AUDITOR, "--as", "sealer", to=shadowed.conn)
    signs = ("--checkpoints", str(shadowed.folder), "--key", shadowed.key, "--first")
    done = run("watch", "--once", *signs, "--dsn", dsn_of(shadowed.conn, user=AUDITOR))
    assert CALLED not in done.out + done.err
    assert done.code == 0, done


def test_no_service_calls_them(shadowed: Shadowed) -> None:
    with running_command("--dsn", shadowed.dsn) as address:
        for path in ("/health", "/v1/audit", f"/v1/audit/{shadowed.one(KEY)}"):
            assert httpx.get(f"{address}{path}").status_code == 200


def test_no_look_at_who_is_waited_for_calls_them(shadowed: Shadowed) -> None:
    said: list[str] = []
    heard = threading.Event()

    def tell(what: str) -> None:
        said.append(what)
        heard.set()

    def wait_in_vain(conn: Connection) -> None:
        with conn.transaction():
            conn.execute(f"LOCK TABLE {HOST.audit_schema}.{AUDIT}".encode())

    with (
        connect_again(shadowed.conn) as holder,
        connect_as_commands_do(shadowed.dsn) as waiter,
        telling_of_waits(waiter, tell, 0.05),
    ):
        with holder.transaction():
            holder.execute(f"LOCK TABLE {AUDIT}".encode())
            waits = threading.Thread(target=wait_in_vain, args=(waiter,))
            waits.start()
            assert heard.wait(20)
        waits.join()
    assert "waits for a lock" in said[0]


def test_no_call_of_a_programs_calls_them(shadowed: Shadowed) -> None:
    step = shadowed.one("workflow_step_uuid")
    with psycopg.connect(shadowed.dsn) as conn:
        assert find_schema(conn) == HOST.audit_schema
        assert call(conn, None, "get_step_audit_history", p_step_uuid=step)

    async def read() -> None:
        async with await psycopg.AsyncConnection.connect(shadowed.dsn) as conn:
            assert await find_schema_async(conn) == HOST.audit_schema
            assert await call_async(conn, None, "get_step_audit_history", p_step_uuid=step)

    asyncio.run(read())


def test_the_script_of_an_install_calls_none(shadowed: Shadowed) -> None:
    succeed("uninstall", "--yes", "--drop-data", to=shadowed.conn)
    done = psql(shadowed.conn, succeed("sql"))
    assert (done.code, done.err) == (0, "")
