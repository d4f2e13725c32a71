"""The README and the pages of docs/ say what happens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pglast
import pytest

from step_audit.database import Connection
from step_audit.demo.engine import Engine
from step_audit.demo.run import PAST_TASKS
from step_audit.setup.sources import load_sources
from tests.support.command import step_audit

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

# Commands of the README that other tests run, since they need more than a database.
ELSEWHERE = (
    ".venv/bin/",
    "export ",
    "step-audit build-extension",
    "psql -c 'CREATE EXTENSION",
    *(f"step-audit {command} " for command in ("keygen", "checkpoint", "verify")),
    "step-audit seal",
)


def blocks(page: Path, language: str) -> Iterator[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    yield from found


def console_sessions() -> list[tuple[str, str]]:
    """Each command of the README with the output printed below it."""
    sessions = []
    for block in blocks(ROOT / "README.md", "console"):
        for session in block.split("$ ")[1:] if block.startswith("$ ") else []:
            command, _, output = session.partition("\n")
            sessions.append((command, output))
    return sessions


def normalised(output: str) -> str:
    """Without what differs from run to run: times, uuids, rates, folders."""
    output = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<uuid>", output)
    output = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+", "<time>", output)
    output = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", "<time>", output)
    output = re.sub(r"(true|false) +\d+ +<uuid>", r"\1 <elapsed> <uuid>", output)
    output = re.sub(r"\d+\.\d s \(\d+ rows/s\)", "<rate>", output)
    return re.sub(r"(?m) in \S*/step-audit/demo$", " in <folder>", output).strip()


def sql_statements() -> list[object]:
    return [
        pytest.param(statement, id=f"{page.stem}-{number}")
        for page in PAGES
        for number, statement in enumerate(
            statement for block in blocks(page, "sql") for statement in pglast.split(block)
        )
    ]


@pytest.mark.parametrize("statement", sql_statements())
def test_a_documented_statement_runs(conn: Connection, statement: str) -> None:
    role = "sealer" if "sealer" in statement else "auditor"
    conn.execute(f"DROP ROLE IF EXISTS {role}".encode())
    if statement.startswith("GRANT"):
        conn.execute(f"CREATE ROLE {role}".encode())
    conn.execute(statement.encode())
    if role in statement:
        conn.execute(f"DROP OWNED BY {role}".encode())
        conn.execute(f"DROP ROLE {role}".encode())


def test_the_readme_shows_what_install_and_status_print(empty: Connection) -> None:
    engine = Engine(empty)
    engine.create_tables()
    engine.play_past(PAST_TASKS)
    ran = 0
    for command, documented in console_sessions():
        if command.startswith(("step-audit install", "step-audit status")):
            done = step_audit(*command.split()[1:], to=empty)
            assert done.code == 0, done.err
            assert normalised(done.out) == normalised(documented)
            ran += 1
        else:
            assert any(mark in command for mark in ELSEWHERE), f"nothing tests: {command}"
    assert ran == 2


def test_the_readme_shows_what_the_demo_prints(server_folder: Path) -> None:
    (documented,) = [out for command, out in console_sessions() if command.endswith("demo")]
    done = step_audit("demo", XDG_DATA_HOME=str(server_folder))
    assert done.code == 0, done.err
    shown, _, psql = done.out.partition("\nGo on with psql")
    assert normalised(shown) == normalised(documented)
    assert "bin/psql -h " in psql


def test_the_changelog_and_the_extension_name_the_release_that_is_installed() -> None:
    assert version("step-audit") == load_sources().release
