"""What is printed on a terminal, and what is printed otherwise."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
from contextlib import suppress

import pytest
from rich.console import Console

from step_audit.cli import progress
from step_audit.database import Connection
from step_audit.setup.backfill import run_backfill
from tests.support.command import STEP_AUDIT, environment, succeed
from tests.support.connect import dsn_of
from tests.support.host import HOST
from tests.support.results import record_results


@pytest.fixture
def unaudited(host: Connection) -> Connection:
    """An installed audit and eight results from before."""
    record_results(host, 8)
    succeed("install", "--no-backfill", to=host)
    return host


def test_bar_on_a_terminal_tells_rows_and_rate(unaudited: Connection) -> None:
    seen = _run_on_terminal(unaudited, "backfill", "--batch-size", "1")
    assert re.search(r"backfill .*\d+/8.* rows, .*\d+.* rows/s, left", seen)
    assert re.search(r"backfill: 8 audit rows in \d+\.\d s \(\d+ rows/s\)", seen)


def test_file_gets_a_line_now_and_then_and_the_sum(
    unaudited: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0)
    file = io.StringIO()
    batches = run_backfill(unaudited, HOST.audit_schema, batch_size=8)
    progress.show_progress(batches, 8, Console(file=file))
    *lines, total = file.getvalue().splitlines()
    assert lines
    for line in lines:
        assert re.fullmatch(r"backfill: [1-8] of 8 rows, \d+ rows/s, \d+ s left", line)
    assert re.fullmatch(r"backfill: 8 audit rows in \d+\.\d s \(\d+ rows/s\)", total)


def test_history_on_a_narrow_terminal_is_not_cut(conn: Connection) -> None:
    (transition,) = record_results(conn, 1)
    seen = _run_on_terminal(conn, "history", str(transition.step.step_uuid))
    assert json.loads(transition.metadata or "")["worker_uuid"] in seen


def _run_on_terminal(conn: Connection, *arguments: str) -> str:
    ours, theirs = os.openpty()
    seen = b""
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        with os.fdopen(theirs, "wb") as screen:
            command = subprocess.Popen(
                [*STEP_AUDIT, *arguments, "--dsn", dsn_of(conn)],
                env=environment(TERM="xterm", COLUMNS="80"),
                stdin=screen,
                stdout=screen,
                stderr=screen,
            )
        # Reading fails once nobody holds the other end any more.
        with command, suppress(OSError):
            while chunk := terminal.read(4096):
                seen += chunk
    assert command.returncode == 0
    return seen.decode()
