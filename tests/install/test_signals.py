"""SIGTERM and Ctrl-C end a command that waits for the database, and its query with it."""

from __future__ import annotations

import os
import signal
import socket

import pytest

from step_audit.database import Connection
from tests.support.command import Done, succeed
from tests.support.connect import dsn_of
from tests.support.host import HOST
from tests.support.results import record_results
from tests.support.stopping import (
    QUERIES,
    SECONDS,
    locked,
    started,
    stop,
    wait_for,
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
    assert done == Done(0, "", "")
