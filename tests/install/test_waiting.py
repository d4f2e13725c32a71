"""A command that waits for a lock says behind whom, goes on waiting, and can still be stopped."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from psycopg import errors

from step_audit import waiting
from step_audit.database import Connection
from step_audit.database import connect as connect_as_commands_do
from step_audit.waiting import telling_of_waits
from tests.faults.test_backfill_concurrency import wait_until
from tests.support.command import succeed
from tests.support.connect import connect_again, dsn_of
from tests.support.host import HOST
from tests.support.keys import write_key
from tests.support.results import record_results
from tests.support.roles import login_roles
from tests.support.sealed import SIGNER
from tests.support.stopping import (
    IMPATIENT,
    SECONDS,
    end,
    is_waiting,
    line,
    own_group,
    started,
    stop,
    wait_for,
    waits_for_lock,
)

AUDIT = "tasker_workflow_step_result_audit"
EXCLUSIVE = f"LOCK TABLE {AUDIT} IN ACCESS EXCLUSIVE MODE".encode()


@contextmanager
def migrating(conn: Connection, table: str) -> Iterator[tuple[int, str]]:
    """A migration that has a table; gives its process and what may be said of it."""
    with (
        connect_again(conn, application_name="a\nmigration") as other,
        other.transaction(),
    ):
        other.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        (row,) = other.execute(
            "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') AS since"
        ).fetchall()
        pid = other.info.backend_pid
        # Postgres itself shows what is unseen in such a name as a question mark, or as escapes.
        yield pid, f"role postgres, in a transaction since {row['since']} UTC"


@pytest.mark.parametrize(
    ("command", "table"),
    [
        ("seal", AUDIT),
        ("verify", AUDIT),
        ("status", HOST.transitions),
        ("backfill", HOST.transitions),
        ("checkpoint", "step_audit_seals"),
        ("watch", "step_audit_seals"),
    ],
)
def test_it_is_said_once_and_the_command_goes_on(
    conn: Connection, tmp_path: Path, command: str, table: str
) -> None:
    record_results(conn, 2)
    arguments = [command]
    if command == "checkpoint":
        succeed("seal", to=conn)
        arguments += ["--key", write_key(tmp_path / "key", SIGNER), "--first"]
    if command == "watch":
        arguments += ["--once"]
    with started(*arguments, "--dsn", dsn_of(conn), program=IMPATIENT) as process:
        with migrating(conn, table) as (pid, told):
            said = line(process)
            assert f"behind process {pid} (" in said
            assert f", {told}). It goes on by itself when that ends: wait; or end that, " in said
            assert f"or by SELECT pg_terminate_backend({pid}); or stop this command" in said
            assert f" on {table if '.' in table else HOST.audit_schema + '.' + table}, " in said
            assert said.count("\n") == 1
            assert said.startswith("{" if command == "watch" else "step-audit: this command waits")
        done = end(process)
    assert (done.code, done.err) == (0, "")


def test_who_waits_for_a_short_time_says_nothing(conn: Connection) -> None:
    told: list[str] = []
    with (
        migrating(conn, AUDIT),
        connect_as_commands_do(dsn_of(conn)) as other,
        telling_of_waits(other, told.append, 0.3),
    ):
        other.execute("SET lock_timeout = '20ms'")
        for _ in range(50):
            with pytest.raises(errors.LockNotAvailable):
                other.execute(f"TABLE {HOST.audit_schema}.{AUDIT}".encode())
    assert told == []


def test_a_prepared_transaction_is_told_as_one(conn: Connection) -> None:
    told: list[str] = []
    with (
        ThreadPoolExecutor(1) as pool,
        connect_as_commands_do(dsn_of(conn)) as other,
        telling_of_waits(other, told.append, 0.05),
    ):
        conn.execute(b"BEGIN; " + EXCLUSIVE + b"; PREPARE TRANSACTION 'forgotten'")
        try:
            read = pool.submit(other.execute, f"TABLE {HOST.audit_schema}.{AUDIT}".encode())
            wait_until(lambda: bool(told))
        finally:
            conn.execute("ROLLBACK PREPARED 'forgotten'")
        read.result(timeout=30)
    (said,) = told
    assert ", behind a prepared transaction (see pg_prepared_xacts). " in said
    assert "; or end that, COMMIT PREPARED or ROLLBACK PREPARED; or stop " in said


def test_it_is_said_again_only_when_another_is_waited_for(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    looks: list[str] = []

    def look(dsn: str) -> Connection:
        looks.append(dsn)
        return connect_as_commands_do(dsn)

    monkeypatch.setattr(waiting, "connect", look)

    def look_on() -> None:
        seen = len(looks)
        wait_until(lambda: len(looks) > seen + 2)

    with (
        ThreadPoolExecutor(2) as pool,
        connect_as_commands_do(dsn_of(conn)) as other,
        telling_of_waits(other, told.append, 0.05),
        connect_again(conn) as second,
        connect_again(conn) as first,
    ):
        pids = [each.info.backend_pid for each in (first, second)]
        first.execute("BEGIN")
        first.execute(EXCLUSIVE)
        queued = pool.submit(second.execute, b"BEGIN; " + EXCLUSIVE)
        wait_until(lambda: is_waiting(conn, second))
        read = pool.submit(other.execute, f"TABLE {HOST.audit_schema}.{AUDIT}".encode())
        wait_until(lambda: bool(told))
        look_on()
        (said,) = told
        assert all(f"process {pid} (" in said for pid in pids)
        first.commit()
        queued.result(timeout=30)
        wait_until(lambda: len(told) == 2)
        assert f"behind process {pids[1]} (" in told[1]
        assert f"process {pids[0]} " not in told[1]
        look_on()
        second.rollback()
        read.result(timeout=30)
    assert len(told) == 2


def test_a_role_that_may_not_see_when_the_other_began_names_it_still(conn: Connection) -> None:
    record_results(conn, 1)
    with login_roles(conn, "auditor"):
        succeed("grant", "auditor", "--as", "auditor", to=conn)
        dsn = dsn_of(conn, user="auditor")
        with started("verify", "--dsn", dsn, program=IMPATIENT) as process:
            with migrating(conn, AUDIT) as (pid, _):
                said = line(process)
                hidden = "role postgres, since when a role without pg_monitor cannot see)"
                assert f"behind process {pid} (" in said
                assert hidden in said
            done = end(process)
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_still_ends_it_within_a_second(conn: Connection, number: signal.Signals) -> None:
    with (
        migrating(conn, AUDIT),
        started("seal", "--dsn", dsn_of(conn), program=IMPATIENT) as process,
    ):
        assert "waits for a lock" in line(process)
        done, seconds = stop(process, number)
        assert not waits_for_lock(conn)
    assert seconds < SECONDS
    assert done.code == 128 + number
    assert done.err.startswith(f"step-audit: stopped by {number.name}; ")


def test_a_command_without_a_second_connection_goes_on(conn: Connection) -> None:
    told: list[str] = []
    with login_roles(conn, "single"):
        conn.execute("ALTER ROLE single CONNECTION LIMIT 1")
        with (
            ThreadPoolExecutor(1) as pool,
            connect_as_commands_do(dsn_of(conn, user="single")) as other,
            telling_of_waits(other, told.append, 0.05),
        ):
            conn.execute(f"GRANT SELECT ON {AUDIT} TO single".encode())
            conn.execute(f"GRANT USAGE ON SCHEMA {HOST.audit_schema} TO single".encode())
            with migrating(conn, AUDIT):
                read = pool.submit(other.execute, f"TABLE {HOST.audit_schema}.{AUDIT}".encode())
                wait_until(
                    lambda: waiting.THREAD not in {each.name for each in threading.enumerate()}
                )
            read.result(timeout=30)
    assert told == []


# A verification by two processes, whose parts begin when it is told so.
_BY_TWO = """
import sys
from step_audit.database import connect, find_schema
from step_audit.trust.verify.session import reading
from step_audit.trust.verify.workers import start_workers
from step_audit.waiting import telling_of_waits

if __name__ == "__main__":
    with (
        connect(sys.argv[1]) as conn,
        telling_of_waits(conn, lambda said: print(said, file=sys.stderr, flush=True), 0.2),
        reading(conn, find_schema(conn)) as session,
        start_workers(session, 2) as workers,
    ):
        print("has its locks", flush=True)
        sys.stdin.readline()
        list(workers.run(print, [(1,), (2,)]))
"""


def test_parts_of_a_verification_that_wait_are_told_of_too(
    conn: Connection, tmp_path: Path
) -> None:
    script = tmp_path / "by_two.py"
    script.write_text(_BY_TWO)
    with (
        connect_again(conn) as migration,
        ThreadPoolExecutor(1) as pool,
        started(dsn_of(conn), program=(sys.executable, str(script)), first=own_group) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "has its locks\n"
        # A migration waits for the leader, and the workers wait for the migration.
        migrated = pool.submit(migration.execute, b"BEGIN; " + EXCLUSIVE)
        wait_for(lambda: is_waiting(conn, migration), process)
        process.stdin.write("\n")
        process.stdin.flush()
        assert f"behind process {migration.info.backend_pid} (" in line(process)
        migration.cancel_safe()
        with pytest.raises(errors.QueryCanceled):
            migrated.result(timeout=30)
        migration.rollback()
        assert end(process).code == 0
