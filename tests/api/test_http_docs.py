"""docs/http.md shows what the service replies."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from step_audit.database import Connection, call
from step_audit.read.web import create_app
from tests.support.connect import dsn_of
from tests.support.host import HOST, OK, Step, Transition, insert_each, insert_step
from tests.support.service import running_command, serving

PAGE = (Path(__file__).parents[2] / "docs" / "http.md").read_text()
URL = "http://127.0.0.1:8080"
KEY = "a-long-random-key"
STEP = Step(
    uuid.UUID("6f1c2a0e-0b0a-4a52-9d0a-64a5a7e3c1de"),
    uuid.UUID("0b8f9a3e-2f0e-4a7e-8f0e-3c1b5d7e9f10"),
    "charge_card",
)
WORKER = "10adf348-2c4b-4d89-9344-7cbaed90dafc"
CORRELATION = "5a0e6c1d-7b2f-4c3d-9e8f-0a1b2c3d4e5f"
RESULT = '{"success": true, "result": {"charged": 42.10}, "metadata": {"execution_time_ms": 12}}'


def sessions(page: str) -> Iterator[tuple[str, str]]:
    """Each command with the output printed below it."""
    for block in re.findall(r"^```console\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        for session in block.split("$ ")[1:]:
            command, _, output = session.partition("\n")
            yield command, output


def curls(page: str) -> list[tuple[str, str]]:
    return [session for session in sessions(page) if session[0].startswith("curl ")]


def normalised(reply: str) -> str:
    """Without what each new row has of its own: its keys and its time."""
    own = r'"(audit_uuid|transition_uuid|recorded_at)":"[^"]+"'
    return re.sub(own, r'"\1":"…"', reply).strip()


@pytest.fixture
def documented(conn: Connection) -> Connection:
    """A database with the one result that the page shows."""
    insert_step(conn, STEP, uuid.UUID(CORRELATION))
    event = f'{{"type": "EnqueueForOrchestration", "data": {RESULT}}}'
    metadata = {"event": event, "worker_uuid": WORKER, "correlation_id": CORRELATION}
    insert_each(conn, [Transition(STEP, OK, json.dumps(metadata), 1, "in_progress")])
    return conn


def replies_are_as_shown(page: str, address: str) -> int:
    for command, shown in curls(page):
        arguments = shlex.split(command.replace(URL, address))
        done = subprocess.run(arguments, capture_output=True, text=True, check=True)
        assert normalised(done.stdout) == normalised(shown), command
    return len(curls(page))


def test_the_page_shows_what_curl_prints(documented: Connection, tmp_path: Path) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text(f"{KEY}\n")
    before, _, rest = PAGE.partition("## Keys")
    about_keys, _, about_errors = rest.partition("## Errors")
    to_it = ("--dsn", dsn_of(documented))
    with running_command(*to_it) as address:
        ran = replies_are_as_shown(before + about_errors, address)
    with running_command(*to_it, "--key-file", str(keys)) as address:
        ran += replies_are_as_shown(about_keys, address)
    assert ran == len(curls(PAGE)) == 10


def test_every_other_command_of_the_page_is_one(documented: Connection) -> None:
    others = [session for session in sessions(PAGE) if session not in curls(PAGE)]
    assert [command.split()[:2] for command, _ in others] == [
        ["pip", "install"],
        ["step-audit", "serve"],
        ["step-audit", "serve"],
    ]
    for _, said in others[1:]:
        assert re.fullmatch(r"step-audit serves http://[\d.]+:8080\n", said)


def test_the_python_of_the_page_prints_what_it_shows(documented: Connection) -> None:
    page = PAGE.partition("## From Python")[2]
    (program,) = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    (shown,) = re.findall(r"^```text\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    with running_command("--dsn", dsn_of(documented), STEP_AUDIT_KEYS=KEY) as address:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(program.replace(URL, address), {})
    assert printed.getvalue() == shown


def test_the_application_of_the_page_serves_the_audit_at_its_place(documented: Connection) -> None:
    page = PAGE.partition("## In an application of your own")[2].partition("## From Python")[0]
    (program,) = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(program.replace("host=… dbname=… user=auditor", dsn_of(documented)), names)
    with serving(names["app"]) as address:
        assert len(httpx.get(f"{address}/step-audit/v1/audit").json()["items"]) == 1


def test_the_page_has_each_metric_and_no_other(documented: Connection) -> None:
    call(documented, HOST.audit_schema, "seal_step_result_audit")
    with serving(create_app(dsn_of(documented))) as address:
        httpx.get(f"{address}/livez")
        reply = httpx.get(f"{address}/metrics").text
    told = set(re.findall(r"^# HELP (step_audit_\w+) ", reply, re.MULTILINE))
    # Without an anomaly there is no family of them.
    told.add("step_audit_anomalies")
    # A histogram's creation is a family of its own in the older format.
    told = {name for name in told if not name.endswith("_created")}
    assert told == set(re.findall(r"`(step_audit_\w+)(?:\{[\w,]+\})?`", PAGE))
