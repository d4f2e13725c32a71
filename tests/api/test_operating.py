"""What whoever runs the service relies on: log, probes, HEAD, a place in another application."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import httpx
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from step_audit.database import Connection
from step_audit.logs import LogFormat, line
from step_audit.read.web import create_app
from tests.support.connect import dsn_of
from tests.support.host import HOST
from tests.support.results import record_results
from tests.support.service import running_command, serving

NONE = uuid.UUID(int=62)
UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def test_each_request_has_one_line_with_the_id_that_its_reply_has(conn: Connection) -> None:
    record_results(conn, 1)
    log: list[str] = []
    with running_command("--dsn", dsn_of(conn), "--log-format", "json", log=log) as address:
        given_id = httpx.get(f"{address}/livez", headers={"X-Request-ID": "a/b:1"})
        made_up = httpx.get(f"{address}/v1/audit?limit=1&success=true")
        forged = httpx.get(f"{address}/v1/tasks/x%0a%1b/audit", headers={"X-Request-ID": 'a" b'})
    ids = [reply.headers["x-request-id"] for reply in (given_id, made_up, forged)]
    assert ids[0] == "a/b:1"
    assert re.fullmatch(UUID, ids[1])
    assert re.fullmatch(UUID, ids[2])
    lines: list[dict[str, Any]] = [json.loads(each) for each in log]
    assert [each["request_id"] for each in lines] == ids
    assert [(each["level"], each["status"], each["path"]) for each in lines] == [
        ("info", 200, "/livez"),
        ("info", 200, "/v1/audit"),
        ("info", 400, "/v1/tasks/x\n\x1b/audit"),
    ]
    assert all(each.isprintable() for each in log)
    of_page = lines[1]
    assert of_page["query"] == "limit=1&success=true"
    assert of_page["bytes"] == len(made_up.content)
    assert (of_page["method"], of_page["client"]) == ("GET", "127.0.0.1")
    assert of_page["duration_ms"] > 0
    for each in lines:
        assert datetime.fromisoformat(each["time"]).utcoffset() is not None


def test_a_failure_is_in_the_line_of_its_request_without_sql(conn: Connection) -> None:
    function = "list_step_audits"
    conn.execute(f"ALTER FUNCTION {function} RENAME TO gone".encode())
    log: list[str] = []
    with running_command("--dsn", dsn_of(conn), log=log) as address:
        assert httpx.get(f"{address}/v1/audit").status_code == 503
    (failed,) = log
    assert re.match(r"\S+Z error request method=GET path=/v1/audit status=503 ", failed)
    assert "step-audit is not installed in schema" in failed
    assert "SELECT" not in failed


@given(st.dictionaries(st.sampled_from(["message", "a", "b"]), st.text() | st.integers()))
def test_a_line_is_one_line_whatever_it_tells(fields: dict[str, Any]) -> None:
    now = datetime.now().astimezone()
    text = line(LogFormat.TEXT, now, "info", fields)
    document = line(LogFormat.JSON, now, "info", fields)
    assert text.isprintable()
    assert document.isprintable()
    assert json.loads(document).items() >= fields.items()


def test_probes_tell_alive_from_ready_from_auditing(conn: Connection) -> None:
    with serving(create_app(dsn_of(conn))) as address:

        def statuses() -> list[int]:
            return [
                httpx.get(f"{address}/{probe}").status_code
                for probe in ("livez", "readyz", "health")
            ]

        assert statuses() == [200, 200, 200]
        conn.execute(f"ALTER TABLE {HOST.transitions} DISABLE TRIGGER {HOST.trigger}".encode())
        assert statuses() == [200, 200, 503]
        conn.execute("ALTER TABLE tasker_workflow_step_result_audit RENAME TO gone")
        assert statuses() == [200, 503, 503]


def test_head_is_what_get_is_without_its_body(conn: Connection) -> None:
    (result,) = record_results(conn, 1)
    task = result.step.task_uuid
    paths = ["/livez", "/readyz", "/health", "/v1/audit", f"/v1/tasks/{task}/audit"]
    paths += [f"/v1/tasks/{NONE}/audit", "/v1/audit?limit=0", "/nothing"]
    with serving(create_app(dsn_of(conn))) as address, httpx.Client(base_url=address) as http:
        for path in paths:
            of_get, of_head = http.get(path), http.head(path)
            assert of_head.content == b""
            assert of_head.status_code == of_get.status_code, path
            kept = ("content-type", "content-length")
            assert [of_head.headers[name] for name in kept] == [
                of_get.headers[name] for name in kept
            ]


def test_the_application_is_mounted_into_another(conn: Connection) -> None:
    record_results(conn, 2)
    audit = create_app(dsn_of(conn))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with audit.router.lifespan_context(audit):
            yield

    app = FastAPI(lifespan=lifespan)
    app.mount("/audit", audit)
    with serving(app) as address, httpx.Client(base_url=f"{address}/audit") as http:
        assert len(http.get("/v1/audit").json()["items"]) == 2
        assert http.head("/readyz").status_code == 200
        assert http.get("/v1/nothing").json()["error"]["code"] == "NOT_FOUND"
        assert "/v1/audit" in http.get("/openapi.json").json()["paths"]


def test_a_mounted_application_that_was_not_started_says_so(conn: Connection) -> None:
    audit = create_app(dsn_of(conn))
    app = FastAPI()
    app.mount("/audit", audit)
    with serving(app) as address:
        assert httpx.get(f"{address}/audit/v1/audit").status_code == 500
