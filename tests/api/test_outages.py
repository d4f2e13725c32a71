"""The database goes away and comes back, before, between and within replies."""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from step_audit import AuditClient
from step_audit.database import Connection
from step_audit.demo.embedded import EmbeddedServer
from step_audit.logs import LogFormat
from step_audit.read.web import create_app
from tests.support.connect import connect, dsn_of
from tests.support.host import HOST, OK, Step, create_steps
from tests.support.install import install_audit
from tests.support.results import record_results
from tests.support.service import running_command, serving


@pytest.fixture(scope="module")
def server(new_server: Any) -> EmbeddedServer:
    """A server of our own, with results, that a test may stop."""
    server: EmbeddedServer = new_server()
    with connect(server.dsn()) as conn:
        HOST.create(conn)
        install_audit(conn)
        record_results(conn, 3)
    return server


def get(address: str, path: str = "/v1/audit") -> tuple[int, Any]:
    reply = httpx.get(f"{address}{path}", timeout=30)
    return reply.status_code, reply.json()


def test_a_stopped_database_is_an_error_and_needs_no_restart_of_the_service(
    server: EmbeddedServer,
) -> None:
    with serving(create_app(server.dsn())) as address:
        # Several connections are idle in the pool when the server stops.
        with ThreadPoolExecutor(12) as pool:
            before = list(pool.map(get, [address] * 24))
        assert {status for status, _ in before} == {200}

        server.stop()
        try:
            with ThreadPoolExecutor(2) as pool:
                away = list(pool.map(get, [address] * 2, ["/v1/audit", "/health"]))
        finally:
            server.start()
        message = "the audit cannot be read now; try again later"
        assert away == [(503, {"error": {"code": "DATABASE_ERROR", "message": message}})] * 2

        assert get(address) == before[0]
        assert get(address, "/health")[0] == 200


@pytest.mark.parametrize("form", LogFormat)
def test_an_outage_is_logged_once_and_at_its_end(server: EmbeddedServer, form: LogFormat) -> None:
    log: list[str] = []
    to_it = ("--dsn", server.dsn(), "--log-format", form.value)
    with running_command(*to_it, log=log) as address:
        assert get(address)[0] == 200
        server.stop()
        try:
            paths = ["/livez", "/readyz", "/v1/audit", "/v1/audit"]
            statuses = [get(address, path)[0] for path in paths]
        finally:
            server.start()
        assert statuses == [200, 503, 503, 503]
        assert get(address, "/readyz")[0] == 200

    def count(what: str) -> int:
        return len([line for line in log if what in line])

    assert (count("the database is away"), count("the database is back")) == (1, 1)
    assert [len(log), count("request"), count("503"), count("SELECT")] == [8, 6, 3, 0]
    away = next(line for line in log if "the database is away" in line)
    if form is LogFormat.JSON:
        assert {json.loads(line)["level"] for line in log} == {"info", "warning", "error"}
        assert "No such file or directory" in json.loads(away)["error"]
    else:
        assert re.match(r'\S+Z error the database is away error="', away)


def test_a_restart_between_two_requests_is_not_noticed(server: EmbeddedServer) -> None:
    with serving(create_app(server.dsn())) as address:
        with ThreadPoolExecutor(12) as pool:
            before = list(pool.map(get, [address] * 24))
        server.stop()
        server.start()
        assert get(address) == before[0]


def test_the_service_starts_while_the_database_is_away_and_the_client_tries_until_it_is_back(
    server: EmbeddedServer,
) -> None:
    server.stop()
    refused = threading.Event()

    def on_reply(reply: httpx.Response) -> None:
        assert reply.status_code in {200, 503}
        if reply.status_code == 503:
            refused.set()

    try:
        with serving(create_app(server.dsn())) as address, AuditClient(address) as client:
            client._http.event_hooks = {"response": [on_reply]}
            with ThreadPoolExecutor(1) as pool:
                audits = pool.submit(lambda: list(client.list_audits()))
                assert refused.wait(30)
                server.start()
                assert len(audits.result(30)) == 3
    finally:
        if not server.is_running():
            server.start()


@pytest.fixture
def heavy_step(conn: Connection) -> Step:
    """A step whose history is larger than what the sockets on its way can hold."""
    (step,) = create_steps(conn)
    conn.execute(
        """
        INSERT INTO tasker_workflow_step_transitions
            (workflow_step_uuid, to_state, sort_key, most_recent, metadata)
        SELECT %s, %s, n, FALSE, jsonb_build_object('event', to_json(repeat('x', 50000))::text)
        FROM generate_series(1, 800) AS n
        """,
        (step.step_uuid, OK),
    )
    return step


@pytest.fixture
def streaming(conn: Connection, heavy_step: Step) -> Iterator[httpx.Response]:
    """A reply on its way, of which the caller has read no more than the first piece."""
    path = f"/v1/tasks/{heavy_step.task_uuid}/workflow_steps/{heavy_step.step_uuid}/audit"
    with (
        serving(create_app(dsn_of(conn))) as address,
        httpx.stream("GET", f"{address}{path}", timeout=30) as reply,
    ):
        yield reply


def backends(conn: Connection, state: str) -> int:
    row = conn.execute(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = %s",
        (state,),
    ).fetchone()
    assert row is not None
    return int(row["count"])


def test_an_error_within_a_reply_cuts_it(conn: Connection, streaming: httpx.Response) -> None:
    assert streaming.status_code == 200
    pieces = streaming.iter_bytes()
    assert next(pieces).startswith(b'[{"audit_uuid":')
    assert backends(conn, "active") == 1
    conn.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
        list(pieces)


def test_a_caller_who_leaves_within_a_reply_leaves_nothing_running(
    conn: Connection, heavy_step: Step
) -> None:
    path = f"/v1/tasks/{heavy_step.task_uuid}/workflow_steps/{heavy_step.step_uuid}/audit"
    with serving(create_app(dsn_of(conn))) as address:
        for _ in range(12):  # more than the pool has connections
            with httpx.stream("GET", f"{address}{path}", timeout=30) as reply:
                assert next(reply.iter_bytes())
        assert get(address, "/health")[0] == 200
        while backends(conn, "active"):
            assert get(address, f"/v1/tasks/{uuid.uuid4()}/audit")[0] == 404


def test_the_command_serves_until_it_is_interrupted(conn: Connection) -> None:
    record_results(conn, 1)
    with running_command("--dsn", dsn_of(conn)) as address:
        assert len(get(address)[1]["items"]) == 1
    with pytest.raises(httpx.ConnectError):
        get(address)
    with running_command(STEP_AUDIT_DSN=dsn_of(conn)) as address:
        assert get(address, "/health")[0] == 200
    with running_command("--dsn", dsn_of(conn), "--host", "::1") as address:
        assert address.startswith("http://[::1]:")
        assert get(address, "/health")[0] == 200
