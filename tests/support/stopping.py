"""Processes of the command that wait for a lock, and are ended by a signal."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from step_audit.database import Connection
from tests.support.command import STEP_AUDIT, Done, environment
from tests.support.connect import connect_again

# A second, and room for a machine that is busy with other tests.
SECONDS = 3.0

# A command that loses patience sooner than a user's.
IMPATIENT = (
    sys.executable,
    "-c",
    "from step_audit import waiting; waiting.SECONDS = 0.2\n"
    "from step_audit.cli.cli import main; main()",
)

QUERIES = """
SELECT a.pid, a.state, a.wait_event_type, a.query
FROM pg_stat_activity AS a
WHERE a.datname = current_database() AND a.application_name LIKE 'step-audit%'
"""


@contextmanager
def started(
    *arguments: str,
    first: Callable[[], object] | None = None,
    program: tuple[str, ...] = STEP_AUDIT,
    **settings: str,
) -> Iterator[subprocess.Popen[str]]:
    """A process of the command, killed if it does not end by itself."""
    # A suite that runs in the background may have been told to ignore interrupts.
    heeding = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    with subprocess.Popen(
        [*program, *arguments],
        env=environment(**settings),
        stdin=subprocess.PIPE,
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


def line(process: subprocess.Popen[str]) -> str:
    """The next line on standard error."""
    assert process.stderr is not None
    assert select.select([process.stderr], [], [], 30)[0], "nothing was said"
    return process.stderr.readline()


def end(process: subprocess.Popen[str]) -> Done:
    """Wait until a process has ended; gives what it left."""
    out, err = process.communicate(timeout=30)
    return Done(process.returncode, out, err)


def sockets(pid: int) -> int:
    """How many sockets a process has open."""
    files = Path(f"/proc/{pid}/fd").iterdir()
    return sum(os.readlink(each).startswith("socket:") for each in files)


def waiting(conn: Connection) -> list[int]:
    """Backends of the command that wait for a lock."""
    return [row["pid"] for row in conn.execute(QUERIES) if row["wait_event_type"] == "Lock"]


def waits_for_lock(conn: Connection) -> bool:
    return bool(waiting(conn))


def is_waiting(conn: Connection, other: Connection) -> bool:
    """Whether another connection waits for a lock."""
    (row,) = conn.execute(
        "SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s", (other.info.backend_pid,)
    ).fetchall()
    return bool(row["wait_event_type"] == "Lock")


def own_group() -> None:
    """Begin a process group, which a terminal would send its signals to."""
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until_gone(pids: list[int]) -> None:
    """Wait until processes have ended, whether anybody asked for their exit codes or not."""
    deadline = time.monotonic() + SECONDS
    while any(_runs(pid) for pid in pids):
        assert time.monotonic() < deadline, "they run on"


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except (FileNotFoundError, ProcessLookupError):
        return False


def stop_group(process: subprocess.Popen[str], number: signal.Signals) -> tuple[Done, float]:
    """As :func:`stop`; Ctrl-C goes to the whole group, as a terminal sends it."""
    to_all = -process.pid if number == signal.SIGINT else process.pid
    return stop(process, number, lambda: os.kill(to_all, number))


def stop(
    process: subprocess.Popen[str],
    number: signal.Signals,
    send: Callable[[], object] | None = None,
) -> tuple[Done, float]:
    """Send a signal; gives what the process left, and after how many seconds."""
    start = time.monotonic()
    if send:
        send()
    else:
        process.send_signal(number)
    process.wait(timeout=30)
    seconds = time.monotonic() - start
    out, err = process.communicate()
    return Done(process.returncode, out, err), seconds
