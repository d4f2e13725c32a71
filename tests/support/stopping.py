"""Processes of the command that wait for a lock, and are ended by a signal."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from step_audit.database import Connection
from tests.support.command import STEP_AUDIT, Done, environment
from tests.support.connect import connect_again

# A second, and room for a machine that is busy with other tests.
SECONDS = 3.0

QUERIES = """
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
    return any(row["wait_event_type"] == "Lock" for row in conn.execute(QUERIES))


def stop(process: subprocess.Popen[str], number: signal.Signals) -> tuple[Done, float]:
    """Send a signal; gives what the process left, and after how many seconds."""
    start = time.monotonic()
    process.send_signal(number)
    process.wait(timeout=30)
    seconds = time.monotonic() - start
    out, err = process.communicate()
    return Done(process.returncode, out, err), seconds
