"""Every example of docs/states-and-lifecycles.md is run, in order, against one database."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from step_audit.database import Connection
from step_audit.engine.states import RULES, StepState
from tests.support.host import HOST, Step, insert_step
from tests.support.postgres import client_binaries

PAGE = (Path(__file__).parents[1] / "docs" / "states-and-lifecycles.md").read_text()
STEP = "6f1c2a0e-0b0a-4a52-9d0a-64a5a7e3c1de"
TASK = "0b8f9a3e-2f0e-4a7e-8f0e-3c1b5d7e9f10"
CORRELATION = "5a0e6c1d-7b2f-4c3d-9e8f-0a1b2c3d4e5f"
URL = "http://127.0.0.1:8080"


def normalised(output: str) -> str:
    """Without new keys, times and durations."""

    def known(match: re.Match[str]) -> str:
        return match[0] if match[0] in (STEP, TASK, CORRELATION) else "<uuid>"

    output = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", known, output)
    output = re.sub(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d\.\d+", "<time>", output)
    output = re.sub(r'"elapsed_ms":\d+', '"elapsed_ms":<elapsed>', output)
    output = re.sub(r"(true|false) +\d+ +<uuid>", r"\1 <elapsed> <uuid>", output)
    return "\n".join(line.rstrip() for line in output.strip().splitlines())


@pytest.fixture
def step_in_the_database(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's step, pending, in the database that PG* names."""
    step = Step(uuid.UUID(STEP), uuid.UUID(TASK), "charge_card")
    insert_step(conn, step, uuid.UUID(CORRELATION))
    for variable, value in (
        ("PGHOST", conn.info.host),
        ("PGPORT", str(conn.info.port)),
        ("PGUSER", conn.info.user),
        ("PGDATABASE", conn.info.dbname),
        ("PATH", f"{Path(sys.executable).parent}:{client_binaries()}:{os.environ['PATH']}"),
    ):
        monkeypatch.setenv(variable, value)


def test_every_example_does_what_the_page_says(step_in_the_database: None) -> None:
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    names: dict[str, object] = {}
    printed: str | None = None
    ran = 0
    with running_service() as url:
        for language, block in blocks:
            if language == "python":
                assert printed is None, f"the page does not show that this prints {printed}"
                out = io.StringIO()
                with contextlib.redirect_stdout(out):
                    exec(block.replace(URL, url), names)
                printed = out.getvalue() or None
            elif language == "text":
                assert printed is not None
                assert normalised(printed) == normalised(block)
                printed = None
            else:
                command, _, shown = block.removeprefix("$ ").partition("\n")
                # Who asks by psql has the schema in the path; the command finds it.
                path = {"PGOPTIONS": HOST.options} if command.startswith("psql ") else {}
                done = subprocess.run(
                    shlex.split(command.replace(URL, url)),
                    env=os.environ | path,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert done.stderr == ""
                assert normalised(done.stdout) == normalised(shown)
            ran += 1
    assert printed is None
    assert ran == len(blocks) == 10


def test_the_table_of_events_is_the_one_that_holds() -> None:
    rows = re.findall(r"^\| (\w+) \| (.*?) \| (\w+) \|$", PAGE, re.MULTILINE)[1:]
    shown = {event: (sources(text), target) for event, text, target in rows}
    assert shown == {event: (rule.sources, rule.target) for event, rule in RULES.items()}


def sources(text: str) -> frozenset[str]:
    if not text.startswith("any"):
        return frozenset(text.split(", "))
    return frozenset(StepState) - frozenset(text.removeprefix("any but ").split(", "))


@contextlib.contextmanager
def running_service() -> Iterator[str]:
    command = [sys.executable, "-m", "step_audit", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        try:
            yield service.stdout.readline().split()[-1]
        finally:
            service.terminate()
