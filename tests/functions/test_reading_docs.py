"""Pages on reading, exports and evidence: sessions are replayed, and each field has its line."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from step_audit.database import Connection
from step_audit.read.export import COLUMNS
from tests.lifecycle.test_who_docs import STEP, pages_step  # noqa: F401 (a fixture)
from tests.support.command import STEP_AUDIT, succeed
from tests.support.host import OK, Transition, insert_each
from tests.support.keys import write_key
from tests.support.results import record_results
from tests.support.sealed import SIGNER, VERIFIER_KEY

DOCS = Path(__file__).parents[2] / "docs"


def session(page: str) -> Iterator[tuple[str, str]]:
    text = (DOCS / page).read_text()
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        for each in block.removeprefix("$ ").split("\n$ "):
            command, _, shown = each.partition("\n")
            yield command, shown


def as_shown(printed: str) -> str:
    printed = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<uuid>", printed)
    printed = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+", "<time>", printed)
    printed = re.sub(r"(?m)^root [0-9a-f]{64}$", "root <hash>", printed)
    return re.sub(r"(true|false) +\d+ +", r"\1 <elapsed> ", printed).strip()


def run(command: str, folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        shlex.split(command),
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.usefixtures("pages_step")
def test_the_session_about_reading_prints_what_it_shows(conn: Connection, tmp_path: Path) -> None:
    worker = '{"event": {}, "worker_uuid": "10adf348-2c4b-4d89-9344-7cbaed90dafc"}'
    insert_each(conn, [Transition(STEP, "in_progress", "{}", 1)])
    insert_each(conn, [Transition(STEP, OK, worker, 2, "in_progress")])
    codes = []
    for command, shown in session("reading.md"):
        code, printed = run(command, tmp_path)
        assert as_shown(printed) == as_shown(shown), command
        codes.append(code)
    assert codes == [0, 0, 4, 0]


@pytest.mark.usefixtures("pages_step")
def test_the_session_about_exports_prints_what_it_shows(conn: Connection, tmp_path: Path) -> None:
    record_results(conn, 4)
    conn.execute("SELECT seal_step_result_audit()")
    ran = 0
    for command, shown in session("export.md"):
        if command == "step-audit seal":
            record_results(conn, 2)
        code, printed = run(command, tmp_path)
        assert (code, as_shown(printed)) == (0, as_shown(shown)), command
        ran += 1
    assert ran == 4
    assert sorted(file.name for file in tmp_path.iterdir()) == ["log-1.jsonl", "log-2.jsonl"]


def test_each_field_of_an_export_has_its_line() -> None:
    table = re.findall(r"^\| `(\w+)` \| ([\w, ]+) \| \S", (DOCS / "export.md").read_text(), re.M)
    assert [name for name, _ in table] == COLUMNS


def test_the_server_gives_those_fields_and_no_other(conn: Connection) -> None:
    description = conn.execute("SELECT * FROM list_step_audit_log()").description
    assert [column.name for column in description or ()] == COLUMNS


def test_each_option_of_a_list_is_on_the_page() -> None:
    page = (DOCS / "reading.md").read_text()
    for command in ("list", "changes"):
        shown = subprocess.run(
            [*STEP_AUDIT, command, "--help"], capture_output=True, text=True, check=True
        ).stdout
        options = set(re.findall(r"--[a-z-]+", shown))
        assert len(options) > 8
        assert {o for o in options if f"`{o}" not in page} <= {
            *("--help", "--verbose", "--dsn", "--schema"),
        }


@pytest.mark.usefixtures("pages_step")
def test_the_session_about_evidence_prints_what_it_shows(conn: Connection, tmp_path: Path) -> None:
    insert_each(conn, [Transition(STEP, OK, "{}", 1, "in_progress")])
    record_results(conn, 3)
    conn.execute("SELECT seal_step_result_audit()")
    key, note = write_key(tmp_path / "audit.key", SIGNER), str(tmp_path / "monday.checkpoint")
    (tmp_path / "audit.pub").write_text(VERIFIER_KEY)
    succeed("checkpoint", "--key", key, "--out", note, "--first", to=conn)
    ran = 0
    for command, shown in session("evidence.md"):
        code, printed = run(command, tmp_path)
        assert (code, printed) == (0, shown if shown.endswith("\n") else shown + "\n"), command
        ran += 1
    assert ran == 3


def test_each_file_of_an_archive_has_its_line(conn: Connection, tmp_path: Path) -> None:
    record_results(conn, 1)
    conn.execute("SELECT seal_step_result_audit()")
    key, note = write_key(tmp_path / "key", SIGNER), str(tmp_path / "note")
    succeed("checkpoint", "--key", key, "--out", note, "--first", to=conn)
    out = tmp_path / "evidence.zip"
    signed = ("--checkpoint", note, "--public-key", VERIFIER_KEY, "--out", str(out))
    succeed("evidence", "--sample", "1", *signed, to=conn)
    with zipfile.ZipFile(out) as archive:
        names = {re.sub(r"/.*\.", "/KEY.", name) for name in archive.namelist()}
    table = re.findall(r"^\| (`.*?) \| \S", (DOCS / "evidence.md").read_text(), re.M)
    assert {name for cell in table for name in re.findall(r"`(.*?)`", cell)} == names
