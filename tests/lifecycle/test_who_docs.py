"""docs/who.md: its session is replayed against a database, and its table is the machine's."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from step_audit.database import Connection, call
from step_audit.engine.states import RULES, StepState
from tests.support.host import HOST, Step, insert_step
from tests.support.postgres import client_binaries
from tests.test_lifecycle_docs import normalised, sources

PAGE = (Path(__file__).parents[2] / "docs" / "who.md").read_text()
STEP = Step(
    uuid.UUID("6f1c2a0e-0b0a-4a52-9d0a-64a5a7e3c1de"),
    uuid.UUID("0b8f9a3e-2f0e-4a7e-8f0e-3c1b5d7e9f10"),
    "charge_card",
)
SHOWN = "019fab12-6c20-7000-8000-000000000000"


def blocks() -> list[tuple[str, str]]:
    return re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def as_shown(output: str) -> str:
    """The output without what differs from run to run and between the layouts."""
    # The engine of today's layout counts attempts.
    counted = re.sub(r"(ResetForRetry|CompleteManually) +\| [ \d]{8} \|", r"\1 | <n> |", output)
    return normalised(counted)


@pytest.fixture
def pages_step(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's step, in the database that PG* names."""
    insert_step(conn, STEP)
    for variable, value in (
        ("PGHOST", conn.info.host),
        ("PGPORT", str(conn.info.port)),
        ("PGUSER", conn.info.user),
        ("PGDATABASE", conn.info.dbname),
        ("PATH", f"{Path(sys.executable).parent}:{client_binaries()}:{os.environ['PATH']}"),
    ):
        monkeypatch.setenv(variable, value)


def reset_transition(conn: Connection) -> str:
    (row,) = (
        row
        for row in call(conn, HOST.audit_schema, "list_operator_actions")
        if row["action"] == "ResetForRetry"
    )
    return str(row["workflow_step_transition_uuid"])


def test_the_session_does_what_the_page_says(conn: Connection, pages_step: None) -> None:
    names: dict[str, object] = {}
    printed: str | None = None
    ran = 0
    for language, block in blocks():
        if language == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(block, names)
            printed = out.getvalue() or None
        elif language == "text":
            assert printed == block
        else:
            command, _, shown = block.removeprefix("$ ").partition("\n")
            if SHOWN in command:
                command = command.replace(SHOWN, reset_transition(conn))
            path = {"PGOPTIONS": HOST.options} if command.startswith("psql ") else {}
            done = subprocess.run(
                shlex.split(command),
                env=os.environ | path,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.stderr == ""
            assert as_shown(done.stdout) == as_shown(shown), done.stdout
        ran += 1
    assert ran == 7


def test_its_table_of_actions_is_the_machines() -> None:
    rows = re.findall(r"^\| (\w+) \| ([^|]*?) \| (\w+) \| .*\|$", PAGE, re.MULTILINE)
    shown = {action: (sources(text), target) for action, text, target in rows if text != "from"}
    assert len(shown) == 4
    for action, rule in shown.items():
        (machine,) = (RULES[event] for event in RULES if event == action)
        assert rule == (machine.sources, machine.target)
    assert set(StepState) == shown["ResolveManually"][0]
