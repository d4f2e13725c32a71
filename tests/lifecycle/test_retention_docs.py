"""docs/retention.md: its session is replayed against a database."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from step_audit.database import Connection, call
from tests.lifecycle.test_purge import now
from tests.lifecycle.test_who_docs import SHOWN, as_shown, pages_step  # noqa: F401 (a fixture)
from tests.support.host import (
    HOST,
    OK,
    Step,
    Transition,
    create_steps,
    disable_own_audit,
    insert_each,
)

PAGE = (Path(__file__).parents[2] / "docs" / "retention.md").read_text()
TIME = "2019-01-01"
STEP = uuid.UUID("6f1c2a0e-0b0a-4a52-9d0a-64a5a7e3c1de")
TASK = uuid.UUID("0b8f9a3e-2f0e-4a7e-8f0e-3c1b5d7e9f10")


def session() -> Iterator[tuple[str, str]]:
    """Each command of the page, and what it prints."""
    for block in re.findall(r"^```console\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE):
        for each in block.removeprefix("$ ").split("\n$ "):
            command, _, shown = each.partition("\n")
            yield command, shown


def without_root(output: str) -> str:
    return re.sub(r"(?m)^root .*$", "root <hash>", output)


@pytest.mark.usefixtures("pages_step")
def test_the_session_does_what_the_page_says(conn: Connection) -> None:
    disable_own_audit(conn)
    step = Step(STEP, TASK, "charge_card")
    held = Transition(step, OK, "{}", 1, "in_progress")
    insert_each(conn, [held])
    others = [Transition(each, OK, "{}", 1, "in_progress") for each in create_steps(conn, 2)]
    insert_each(conn, others)
    ran = 0
    for documented, shown in session():
        command = documented.replace(TIME, now(conn).isoformat())
        if SHOWN in command:
            (row,) = call(conn, HOST.audit_schema, "list_step_audit_holds")
            command = command.replace(SHOWN, str(row["hold"]))
        path = {"PGOPTIONS": HOST.options} if command.startswith("psql ") else {}
        done = subprocess.run(
            shlex.split(command), env=os.environ | path, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert without_root(as_shown(done.stdout)) == without_root(as_shown(shown)), done.stdout
        ran += 1
    assert ran == 9
