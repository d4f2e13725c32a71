"""Every error of the service has one form, and tells nothing of the database."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from step_audit.database import Connection, call
from step_audit.read.audit import AuditCursor
from step_audit.read.web import create_app
from step_audit.read.web.cursors import decode_cursor, encode_cursor
from tests.support.connect import dsn_of
from tests.support.host import HOST, OK, Transition, create_steps, insert_together
from tests.support.results import record_results
from tests.support.service import serving

NONE = uuid.UUID(int=62)
AWAY = {
    "error": {
        "code": "DATABASE_ERROR",
        "message": "the audit cannot be read now; try again later",
    }
}


BAD_REQUESTS = [
    ("/v1/tasks/62/audit", "task_uuid: Input should be a valid UUID"),
    (f"/v1/tasks/{NONE}/workflow_steps/x/audit", "step_uuid: Input should be a valid UUID"),
    (f"/v1/tasks/x/workflow_steps/{NONE}/audit", "task_uuid: Input should be a valid UUID"),
    ("/v1/audit/62", "audit_uuid: Input should be a valid UUID"),
    ("/v1/audit?step_uuid=", "step_uuid: Input should be a valid UUID"),
    ("/v1/audit?worker_uuid=%00", "worker_uuid: Input should be a valid UUID"),
    ("/v1/audit?limit=0", "limit: Input should be greater than or equal to 1"),
    ("/v1/audit?limit=1001", "limit: Input should be less than or equal to 1000"),
    ("/v1/audit?limit=many", "limit: Input should be a valid integer"),
    ("/v1/audit?success=perhaps", "success: this is no true or false"),
    ("/v1/audit?success=1", "success: this is no true or false"),
    ("/v1/audit?min_execution_time_ms=-1", "min_execution_time_ms: Input should be gr"),
    (f"/v1/audit?min_execution_time_ms={2**63}", "min_execution_time_ms: Input should be le"),
    ("/v1/audit?recorded_from=soon", "recorded_from: this is no date and time"),
    ("/v1/audit?recorded_from=0.0", "recorded_from: this is no date and time"),
    ("/v1/audit?recorded_from=2026-13-01", "recorded_from: Input should be a valid datetime"),
    ("/v1/audit?recorded_from=infinity", "recorded_from: this is no date and time"),
    ("/v1/audit?cursor=", "cursor: the cursor is not one that this service gave"),
    ("/v1/audit?cursor=%00%C3%A9", "cursor: the cursor is not one that this service gave"),
    ("/v1/audit?worker=62", "worker: Extra inputs are not permitted"),
]


def error_of(reply: httpx.Response, status: int, code: str) -> str:
    """The message of an error, which is in the one form."""
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/json")
    body: dict[str, Any] = reply.json()
    assert body == {"error": {"code": code, "message": body["error"]["message"]}}
    return str(body["error"]["message"])


def test_what_makes_no_sense_is_a_bad_request(http: httpx.Client) -> None:
    for path, words in BAD_REQUESTS:
        assert error_of(http.get(path), 400, "BAD_REQUEST").startswith(words), path


def test_the_ends_of_time_are_times(conn: Connection, http: httpx.Client) -> None:
    record_results(conn, 1)
    first = ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00")
    last = ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-14:00")
    for start, end in product((*first, "2026-11-01"), last):
        asked = {"recorded_from": start, "recorded_until": end}
        assert len(http.get("/v1/audit", params=asked).json()["items"]) == 1
        asked = {"recorded_from": end, "recorded_until": start}
        assert http.get("/v1/audit", params=asked).json()["items"] == []


def test_a_mangled_cursor_is_a_bad_request(conn: Connection, http: httpx.Client) -> None:
    (step,) = create_steps(conn)
    insert_together(conn, [Transition(step, OK, "{}", number) for number in range(2)])
    cursor = http.get("/v1/audit?limit=1").json()["next_cursor"]
    assert http.get("/v1/audit", params={"cursor": cursor}).status_code == 200
    for mangled in (cursor[:-1], cursor + "A", cursor[::-1], cursor.swapcase(), f" {cursor}"):
        reply = http.get("/v1/audit", params={"cursor": mangled})
        assert error_of(reply, 400, "BAD_REQUEST").startswith("cursor: the cursor is not one")

    position = st.integers(0, len(cursor) - 1)
    letter = st.characters(exclude_categories=["Cs"])

    @given(st.text(st.characters(exclude_categories=["Cs"])) | st.tuples(position, letter))
    def law(mangled: str | tuple[int, str]) -> None:
        if isinstance(mangled, tuple):
            place, other = mangled
            mangled = cursor[:place] + other + cursor[place + 1 :]
        if mangled != cursor:
            reply = http.get("/v1/audit", params={"cursor": mangled})
            assert error_of(reply, 400, "BAD_REQUEST").startswith("cursor: ")

    law()


@given(
    st.datetimes(timezones=st.just(UTC)),
    st.none() | st.integers(1 - 2**63, 2**63 - 1),
    st.uuids(),
)
def test_a_cursor_is_read_as_it_was_written(
    recorded_at: datetime, sort_key: int | None, audit_uuid: uuid.UUID
) -> None:
    cursor = AuditCursor(recorded_at, sort_key, audit_uuid)
    assert decode_cursor(encode_cursor(cursor)) == cursor


def test_what_is_not_there_has_the_very_same_words(conn: Connection, http: httpx.Client) -> None:
    step, _, of_another_task = (result.step for result in record_results(conn, 3))
    (empty,) = create_steps(conn)
    paths = [
        f"/v1/tasks/{NONE}/audit",
        f"/v1/tasks/{NONE}/workflow_steps/{NONE}/audit",
        f"/v1/tasks/{NONE}/workflow_steps/{step.step_uuid}/audit",
        f"/v1/tasks/{step.task_uuid}/workflow_steps/{NONE}/audit",
        f"/v1/tasks/{step.task_uuid}/workflow_steps/{of_another_task.step_uuid}/audit",
        f"/v1/tasks/{step.task_uuid}/workflow_steps/{empty.step_uuid}/audit",
        f"/v1/audit/{NONE}",
        "/nothing",
        "/v1/nothing",
        "/health/",
        "/docs",
    ]
    replies = {http.get(path).content for path in paths}
    assert replies == {b'{"error":{"code":"NOT_FOUND","message":"Not Found"}}'}
    assert {http.get(path).status_code for path in paths} == {404}


@pytest.mark.parametrize("deleted", [False, True], ids=["kept", "deleted by the engine"])
def test_what_is_not_there_is_known_before_any_history_is_read(
    conn: Connection, http: httpx.Client, deleted: bool
) -> None:
    step, _, other = (result.step for result in record_results(conn, 3))
    if deleted:
        conn.execute(
            """
            SET session_replication_role = replica;
            DELETE FROM tasker_workflow_step_transitions;
            DELETE FROM tasker_workflow_steps;
            DELETE FROM tasker_tasks
            """
        )
    ours = [
        f"/v1/tasks/{step.task_uuid}/workflow_steps/{step.step_uuid}/audit",
        f"/v1/tasks/{step.task_uuid}/audit",
    ]
    assert [len(http.get(path).json()) for path in ours] == [1, 2]

    for function in ("get_step_audit_history(uuid)", "get_task_audit_history(uuid)"):
        conn.execute(f"DROP FUNCTION {function}".encode())
    foreign = [
        f"/v1/tasks/{other.task_uuid}/workflow_steps/{step.step_uuid}/audit",
        f"/v1/tasks/{NONE}/workflow_steps/{step.step_uuid}/audit",
        f"/v1/tasks/{step.task_uuid}/workflow_steps/{NONE}/audit",
        f"/v1/tasks/{NONE}/audit",
    ]
    assert [http.get(path).status_code for path in foreign] == [404] * 4
    assert [http.get(path).status_code for path in ours] == [503] * 2


def test_other_methods_are_not_allowed(http: httpx.Client) -> None:
    paths = ("/health", "/v1/audit", f"/v1/tasks/{NONE}/audit")
    for method, path in product(("POST", "PUT", "PATCH", "DELETE"), paths):
        reply = http.request(method, path)
        error_of(reply, 405, "METHOD_NOT_ALLOWED")
        assert reply.headers["allow"] == "GET, HEAD"


def test_a_database_without_step_audit_is_a_database_error(host: Connection) -> None:
    (step,) = create_steps(host)
    with serving(create_app(dsn_of(host))) as address, httpx.Client(base_url=address) as http:
        for path in paths_of(step.task_uuid, step.step_uuid):
            reply = http.get(path)
            assert (reply.status_code, reply.json()) == (503, AWAY)


def paths_of(task: uuid.UUID, step: uuid.UUID) -> list[str]:
    """Every path that asks the database."""
    history = f"/v1/tasks/{task}/workflow_steps/{step}/audit"
    return [
        history,
        f"/v1/tasks/{task}/audit",
        "/v1/audit",
        f"/v1/audit/{step}",
        "/health",
        "/readyz",
    ]


def test_a_query_that_takes_too_long_is_a_database_error(conn: Connection) -> None:
    (result,) = record_results(conn, 1)
    app = create_app(dsn_of(conn), statement_timeout="50ms")
    with serving(app) as address, httpx.Client(base_url=address) as http:
        with conn.transaction():
            conn.execute("LOCK TABLE tasker_workflow_step_result_audit IN ACCESS EXCLUSIVE MODE")
            for path in paths_of(result.step.task_uuid, result.step.step_uuid)[:4]:
                reply = http.get(path)
                assert (reply.status_code, reply.json()) == (503, AWAY)
        assert http.get("/v1/audit").status_code == 200


@pytest.fixture
def reader(conn: Connection) -> Iterator[str]:
    """Connection string of a role that has the rights of a reader, and no other."""
    conn.execute("CREATE ROLE reader LOGIN")
    call(conn, HOST.audit_schema, "grant_step_audit", p_role="reader", p_as="reader")
    yield dsn_of(conn, user="reader")
    conn.execute("DROP OWNED BY reader; DROP ROLE reader")


def test_a_role_that_may_only_read_is_enough(conn: Connection, reader: str) -> None:
    (result,) = record_results(conn, 1)
    with serving(create_app(reader)) as address, httpx.Client(base_url=address) as http:
        (audit,) = http.get("/v1/audit").json()["items"]
        task, step = result.step.task_uuid, result.step.step_uuid
        for path in [*paths_of(task, step)[:3], f"/v1/audit/{audit['audit_uuid']}", "/health"]:
            assert http.get(path).status_code == 200, path


def test_a_role_without_rights_is_a_database_error(conn: Connection, reader: str) -> None:
    conn.execute("REVOKE SELECT ON tasker_workflow_step_result_audit FROM reader")
    with serving(create_app(reader)) as address:
        reply = httpx.get(f"{address}/v1/audit")
        assert (reply.status_code, reply.json()) == (503, AWAY)


def test_the_service_cannot_write(conn: Connection) -> None:
    (step,) = create_steps(conn)
    conn.execute(
        """
        CREATE OR REPLACE FUNCTION is_step_audit_subject(
            p_task_uuid uuid DEFAULT NULL, p_step_uuid uuid DEFAULT NULL
        ) RETURNS boolean LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO tasker_tasks DEFAULT VALUES;
        END $$;

        CREATE OR REPLACE FUNCTION get_step_audit_health()
        RETURNS TABLE (
            release text, attached boolean, trigger_state text, problems text[]
        ) LANGUAGE sql AS $$
            SELECT
                current_setting('transaction_read_only') || ', '
                    || current_setting('statement_timeout'),
                TRUE, 'enabled', NULL::text[]
        $$
        """
    )
    with serving(create_app(dsn_of(conn))) as address:
        assert httpx.get(f"{address}/health").json()["release"] == "on, 30s"
        reply = httpx.get(f"{address}/v1/tasks/{step.task_uuid}/audit")
        assert (reply.status_code, reply.json()) == (503, AWAY)
    assert conn.execute("SELECT count(*) AS tasks FROM tasker_tasks").fetchone() == {"tasks": 1}
