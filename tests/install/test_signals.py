"""SIGTERM and Ctrl-C end a command that waits for the database, and its query with it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from step_audit.database import Connection
from tests.support.command import STEP_AUDIT, Done, environment, succeed
from tests.support.connect import connect_again, dsn_of
from tests.support.host import HOST
from tests.support.results import record_results

# A second, and room for a machine that is busy with other tests.
SECONDS = 3.0
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}

_AUDIT = "tasker_workflow_step_result_audit"

_QUERIES = """
SELECT a.pid, a.state, a.wait_event_type, a.query
FROM pg_stat_activity AS a
WHERE a.datname = current_database() AND a.application_name LIKE 'step-audit%'
"""


@contextmanager
def started(
    *arguments: str, first: Callable[[], object] | None = None, **settings: str
) -> Iterator[subprocess.Popen[str]]:
    """A process of the command, killed if it does not end by itself."""
    # A suite that runs in the background may have been told to ignore interrupts.
    heeding = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    with subprocess.Popen(
        [*STEP_AUDIT, *arguments],
        env=environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=first or heeding,  # noqa: PLW1509
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def locked(conn: psycopg.Connection[Any], table: str) -> Iterator[None]:
    """Hold the strongest lock of a table."""
    with connect_again(conn) as other, other.transaction():
        other.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        yield


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until a condition holds while a process runs."""
    deadline = time.monotonic() + 15
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it never came to that"


def waits_for_lock(conn: Connection) -> bool:
    return any(row["wait_event_type"] == "Lock" for row in conn.execute(_QUERIES))


def stop(process: subprocess.Popen[str], number: signal.Signals) -> tuple[Done, float]:
    """Send a signal; gives what the process left, and after how many seconds."""
    start = time.monotonic()
    process.send_signal(number)
    process.wait(timeout=30)
    seconds = time.monotonic() - start
    out, err = process.communicate()
    return Done(process.returncode, out, err), seconds


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
        (query,) = conn.execute(_QUERIES).fetchall()
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
    assert done == Done(0, "", "")
