"""SIGTERM and Ctrl-C end a command that waits for the database, and its query with it."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from step_audit.database import Connection
from step_audit.signals import StoppedError, stoppable
from tests.support.command import Done, succeed
from tests.support.connect import connect_again, dsn_of
from tests.support.host import HOST
from tests.support.results import record_results
from tests.support.stopping import (
    QUERIES,
    SECONDS,
    children,
    is_waiting,
    locked,
    own_group,
    started,
    stop,
    stop_group,
    wait_for,
    wait_until_gone,
    waiting,
    waits_for_lock,
)

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}

_AUDIT = "tasker_workflow_step_result_audit"


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize(
    ("command", "table", "told"),
    [
        ("seal", _AUDIT, "0 records are sealed and stay. Go on with: step-audit seal"),
        ("verify", _AUDIT, "nothing was verified. Run it again"),
        ("status", HOST.transitions, "what was not committed is undone"),
        ("attach", HOST.transitions, "what was not committed is undone"),
    ],
)
def test_a_signal_ends_a_command_and_its_query_within_a_second(
    conn: Connection, command: str, table: str, told: str, number: signal.Signals
) -> None:
    arguments = [command]
    if command == "attach":
        succeed("detach", to=conn)
        arguments += ["--lock-timeout", "1h"]
    with locked(conn, table), started(*arguments, "--dsn", dsn_of(conn)) as process:
        wait_for(lambda: waits_for_lock(conn), process)
        done, seconds = stop(process, number)
        # The lock is still held, so that a query that waits for it would be there.
        assert not waits_for_lock(conn)
    assert seconds < SECONDS
    assert done == Done(CODES[number], "", f"step-audit: stopped by {number.name}; {told}\n")


def test_a_server_that_does_not_answer_keeps_no_command(conn: Connection) -> None:
    with locked(conn, _AUDIT), started("seal", "--dsn", dsn_of(conn)) as process:
        wait_for(lambda: waits_for_lock(conn), process)
        (query,) = conn.execute(QUERIES).fetchall()
        os.kill(query["pid"], signal.SIGSTOP)
        try:
            done, seconds = stop(process, signal.SIGTERM)
        finally:
            os.kill(query["pid"], signal.SIGCONT)
    assert seconds < SECONDS
    assert (done.code, done.out) == (143, "")
    assert done.err == (
        "step-audit: stopped by SIGTERM; 0 records are sealed and stay. "
        "Go on with: step-audit seal\n"
    )


def test_a_signal_that_is_ignored_from_the_start_stays_ignored(conn: Connection) -> None:
    ignoring = lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)  # noqa: E731
    with locked(conn, _AUDIT), started("seal", "--dsn", dsn_of(conn), first=ignoring) as process:
        wait_for(lambda: waits_for_lock(conn), process)
        process.send_signal(signal.SIGINT)
        done, _ = stop(process, signal.SIGTERM)
    assert done.code == 143


@pytest.mark.parametrize("number", CODES)
def test_a_signal_ends_the_service_and_the_query_of_a_request(
    conn: Connection, number: signal.Signals
) -> None:
    record_results(conn, 1)
    with locked(conn, _AUDIT), started("serve", "--port", "0", "--dsn", dsn_of(conn)) as process:
        assert process.stdout is not None
        host, port = process.stdout.readline().strip().rpartition("//")[2].split(":")
        with socket.create_connection((host, int(port))) as client:
            path = "/v1/audit"
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            wait_for(lambda: waits_for_lock(conn), process)
            done, seconds = stop(process, number)
        assert not waits_for_lock(conn)
    assert seconds < SECONDS
    assert (done.code, done.out) == (0, "")
    assert re.fullmatch(r"\S+Z warning request method=GET path=/v1/audit .* cut=true\n", done.err)


# A verification by two processes, whose parts begin when it is told so.
_BY_TWO = """
import sys
import threading
from step_audit.database import connect, find_schema
from step_audit.signals import stoppable
from step_audit.trust.verify.session import reading
from step_audit.trust.verify.workers import start_workers

if __name__ == "__main__":
    with (
        stoppable(),
        connect(sys.argv[1]) as conn,
        reading(conn, find_schema(conn)) as session,
        start_workers(session, 2) as workers,
    ):
        print("has its locks", flush=True)
        sys.stdin.readline()
        list(workers.run(print, [(1,), (2,)]))
"""


@pytest.mark.parametrize("number", CODES)
def test_a_signal_ends_worker_processes_and_their_queries(
    conn: Connection, number: signal.Signals, tmp_path: Path
) -> None:
    script = tmp_path / "by_two.py"
    script.write_text(_BY_TWO)
    with (
        connect_again(conn) as migration,
        ThreadPoolExecutor(1) as threads,
        started(dsn_of(conn), program=(sys.executable, str(script)), first=own_group) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "has its locks\n"
        # A migration waits for the leader, and the workers wait for the migration.
        lock = f"BEGIN; LOCK TABLE {_AUDIT} IN ACCESS EXCLUSIVE MODE"
        migrated = threads.submit(migration.execute, lock.encode())
        wait_for(lambda: is_waiting(conn, migration), process)
        process.stdin.write("\n")
        process.stdin.flush()
        wait_for(lambda: len(waiting(conn)) == 2, process)
        workers = children(process.pid)
        assert len(workers) >= 2
        done, seconds = stop_group(process, number)
        assert not waiting(conn)
        migrated.result(timeout=30)
    assert seconds < SECONDS
    assert (done.code, done.err) == (CODES[number], "")
    wait_until_gone(workers)


def test_a_demo_that_is_stopped_leaves_no_server(server_folder: Path) -> None:
    data = server_folder / "stopped"
    data.mkdir(mode=0o755)
    with started("demo", XDG_DATA_HOME=str(data)) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("PostgreSQL ")
        (postmaster,) = data.rglob("postmaster.pid")
        done, _ = stop(process, signal.SIGTERM)
    assert (done.code, done.err) == (
        143,
        "step-audit: stopped by SIGTERM; the demo's server is stopped\n",
    )
    assert not postmaster.exists()


def test_a_signal_within_a_finalizer_is_not_lost() -> None:
    """There, Python lets no exception through."""

    class Finalized:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    def wait_long() -> None:
        finalized = Finalized()
        del finalized
        threading.Event().wait(30)

    with pytest.raises(StoppedError), stoppable():
        wait_long()
