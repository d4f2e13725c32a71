"""The clients, sync and async, against the service and against what may stand in its place."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import httpx
import psycopg
import pytest

import step_audit
from step_audit import (
    AsyncAuditClient,
    AuditBadRequestError,
    AuditClient,
    AuditClientError,
    AuditNotFoundError,
    AuditUnauthorizedError,
    AuditUnavailableError,
    StepAuditChangeResponse,
    StepAuditError,
    StepAuditResponse,
    get_step_changes,
    list_changes,
)
from step_audit.database import Connection
from step_audit.read.web import create_app
from step_audit.read.web.keys import Keys
from tests.support.connect import dsn_of
from tests.support.host import (
    FAILED,
    HOST,
    OK,
    Step,
    Transition,
    create_steps,
    delete_transitions,
    disable_own_audit,
    insert_each,
)
from tests.support.replies import expected_replies
from tests.support.results import record_results
from tests.support.scripted import scripted
from tests.support.service import serving

NONE = uuid.UUID(int=62)
LISTS = {"list_audits", "list_changes"}

# A method of a client of this address and options, called with the arguments; lists are read out.
Ask = Callable[..., Any]


def ask_sync(address: str, options: dict[str, Any], method: str, *args: Any, **given: Any) -> Any:
    with AuditClient(address, **options) as client:
        found = getattr(client, method)(*args, **given)
        return list(found) if method in LISTS else found


def ask_async(address: str, options: dict[str, Any], method: str, *args: Any, **given: Any) -> Any:
    async def run() -> Any:
        async with AsyncAuditClient(address, **options) as client:
            found = getattr(client, method)(*args, **given)
            return [audit async for audit in found] if method in LISTS else await found

    return asyncio.run(run())


@pytest.fixture(params=[ask_sync, ask_async], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    found: Ask = request.param
    return found


def as_sent(audits: list[StepAuditResponse]) -> list[dict[str, Any]]:
    assert {type(audit) for audit in audits} <= {StepAuditResponse}
    return [audit.model_dump(mode="json") for audit in audits]


def test_each_method_gives_typed_what_the_service_has(
    conn: Connection, address: str, ask: Ask
) -> None:
    step = record_results(conn, 5)[0].step
    history = ask(address, {}, "get_step_audit_history", step.task_uuid, step.step_uuid)
    assert as_sent(history) == expected_replies(conn, step=step.step_uuid)
    (audit,) = history
    assert isinstance(audit.audit_uuid, uuid.UUID)
    assert isinstance(audit.worker_uuid, uuid.UUID)
    assert audit.recorded_at.utcoffset() == timedelta(0)

    of_task = ask(address, {}, "get_task_audit_history", step.task_uuid)
    assert as_sent(of_task) == expected_replies(conn, task=step.task_uuid)
    assert len(of_task) == 2
    for limit in (1, 2, 5, 1000):
        assert as_sent(ask(address, {}, "list_audits", limit=limit)) == expected_replies(conn)
    assert ask(address, {}, "list_audits", worker_uuid=NONE) == []


def test_each_filter_is_sent(conn: Connection, address: str, ask: Ask) -> None:
    record_results(conn, 5)
    everything = ask(address, {}, "list_audits")
    one = everything[2]
    recorded: datetime = one.recorded_at
    naive = recorded.replace(tzinfo=None)
    elsewhere = recorded.astimezone(timezone(timedelta(hours=14)))
    later = timedelta(microseconds=1)
    for given, expected in [
        ({"step_uuid": one.workflow_step_uuid}, [one]),
        ({"worker_uuid": one.worker_uuid, "success": None}, [one]),
        ({"correlation_id": one.correlation_id}, [one]),
        ({"task_uuid": one.task_uuid}, [a for a in everything if a.task_uuid == one.task_uuid]),
        ({"success": True}, [a for a in everything if a.success]),
        ({"success": False}, [a for a in everything if not a.success]),
        ({"min_execution_time_ms": 3}, [a for a in everything if a.execution_time_ms >= 3]),
        ({"max_execution_time_ms": 3}, [a for a in everything if a.execution_time_ms <= 3]),
        ({"step_name": one.step_name}, [a for a in everything if a.step_name == one.step_name]),
        ({"changed": False, "deleted": False, "manual": False}, everything),
        ({"changed": True}, []),
        ({"deleted": True}, []),
        ({"manual": True}, []),
        *(({"recorded_from": time}, everything) for time in (recorded, naive, elsewhere)),
        *(({"recorded_until": time}, []) for time in (recorded, naive, elsewhere)),
        ({"recorded_from": elsewhere + later}, []),
        ({"recorded_from": datetime.min, "recorded_until": datetime.max}, everything),
        ({"recorded_from": datetime.min.replace(tzinfo=UTC)}, everything),
    ]:
        assert ask(address, {}, "list_audits", **given) == expected, given


def test_one_record_is_read_by_its_key(conn: Connection, address: str, ask: Ask) -> None:
    record_results(conn, 1)
    (audit,) = ask(address, {}, "list_audits")
    assert ask(address, {}, "get_audit", audit.audit_uuid) == audit
    with pytest.raises(AuditNotFoundError):
        ask(address, {}, "get_audit", NONE)


def test_changes_are_read_as_they_are_listed(conn: Connection, address: str, ask: Ask) -> None:
    disable_own_audit(conn)
    first, second = record_results(conn, 2)
    change = f"UPDATE {HOST.transitions} SET metadata = %s WHERE to_state IN (%s, %s)"
    for event in ("[1e400]", '{"success": true}'):
        conn.execute(change.encode(), (json.dumps({"event": event}), OK, FAILED))
    delete_transitions(conn)

    everything = ask(address, {}, "list_changes", limit=2)
    listed = conn.execute("SELECT * FROM list_step_audit_changes(p_limit => NULL)").fetchall()
    assert [each.operation for each in everything].count("update") == 4
    assert [each.operation for each in everything].count("delete") == 2
    assert [
        (each.change_uuid, each.audit_uuid, each.transition_uuid, each.step_name, each.to_state)
        for each in everything
    ] == [
        (
            row["step_audit_change_uuid"],
            row["workflow_step_result_audit_uuid"],
            row["workflow_step_transition_uuid"],
            row["step_name"],
            row["to_state"],
        )
        for row in listed
    ]
    assert everything[0].result == {"success": True}
    assert everything[2].result == [float("inf")]
    with psycopg.connect(conn.info.dsn) as client:
        assert [StepAuditChangeResponse.of(each) for each in list_changes(client).items] == (
            everything
        )
        assert get_step_changes(client, first.step.step_uuid) == [
            each
            for each in list_changes(client).items
            if each.workflow_step_uuid == first.step.step_uuid
        ]
        page = list_changes(client, limit=4)
        rest = list_changes(client, limit=4, cursor=page.next_cursor)
        assert ([*page.items, *rest.items], rest.next_cursor) == (list_changes(client).items, None)
    recorded: datetime = everything[3].recorded_at
    for given, keeps in filters_of_changes(everything[3], recorded):
        expected = [each for each in everything if keeps(each)]
        assert ask(address, {}, "list_changes", **given) == expected, given
    task, step = first.step.task_uuid, first.step.step_uuid
    assert task == second.step.task_uuid
    assert ask(address, {}, "get_task_changes", task) == everything
    assert ask(address, {}, "get_step_changes", task, step) == [
        each for each in everything if each.workflow_step_uuid == step
    ]
    for method, subject in (("get_task_changes", [NONE]), ("get_step_changes", [NONE, step])):
        with pytest.raises(AuditNotFoundError):
            ask(address, {}, method, *subject)
    with pytest.raises(AuditBadRequestError, match="operation: Input should be 'update'"):
        ask(address, {}, "list_changes", operation="UPDATE")


def filters_of_changes(
    one: Any, at: datetime
) -> list[tuple[dict[str, Any], Callable[[Any], bool]]]:
    step, transition = one.workflow_step_uuid, one.transition_uuid
    return [
        ({"task_uuid": one.task_uuid}, lambda each: True),
        ({"step_uuid": step}, lambda e: e.workflow_step_uuid == step),
        ({"transition_uuid": transition}, lambda e: e.transition_uuid == transition),
        ({"operation": "delete"}, lambda e: e.operation == "delete"),
        ({"recorded_by": "postgres"}, lambda e: True),
        ({"recorded_by": "nobody"}, lambda e: False),
        ({"recorded_from": at.replace(tzinfo=None)}, lambda e: e.recorded_at >= at),
        ({"recorded_until": at}, lambda e: e.recorded_at < at),
    ]


def test_refusals_are_typed_and_carry_code_and_message(conn: Connection, ask: Ask) -> None:
    with serving(create_app(dsn_of(conn), keys=Keys(["right"]))) as address:
        key = {"key": "right"}
        assert ask(address, key, "list_audits") == []
        refusals: list[tuple[type[AuditClientError], str, str, Callable[[], Any]]] = [
            (
                AuditUnauthorizedError,
                "UNAUTHORIZED",
                "a valid key is needed",
                lambda: ask(address, {"key": "wrong"}, "list_audits"),
            ),
            (
                AuditNotFoundError,
                "NOT_FOUND",
                "Not Found",
                lambda: ask(address, key, "get_step_audit_history", NONE, NONE),
            ),
            (
                AuditBadRequestError,
                "BAD_REQUEST",
                "limit: Input should be less than or equal to 1000",
                lambda: ask(address, key, "list_audits", limit=1001),
            ),
        ]
        for kind, code, message, call in refusals:
            with pytest.raises(kind) as caught:
                call()
            assert (caught.value.code, caught.value.message) == (code, message)
            assert str(caught.value) == f"{code}: {message}"
            assert isinstance(caught.value, StepAuditError)


def test_a_database_error_is_unavailable(host: Connection, ask: Ask) -> None:
    with (
        serving(create_app(dsn_of(host))) as address,
        pytest.raises(AuditUnavailableError, match="DATABASE_ERROR: the audit cannot be read now"),
    ):
        ask(address, {"attempts": 2}, "get_task_audit_history", NONE)


def test_what_is_unavailable_is_tried_again(ask: Ask) -> None:
    away = b'{"error": {"code": "DATABASE_ERROR", "message": "later"}}'
    with scripted((503, away), (502, b"<html>"), (200, b"[]")) as script:
        assert ask(script.address, {}, "get_task_audit_history", NONE) == []
        assert script.paths == [f"/v1/tasks/{NONE}/audit"] * 3


def test_it_is_tried_as_often_as_told_and_each_page_anew(ask: Ask) -> None:
    away = b'{"error": {"code": "DATABASE_ERROR", "message": "later"}}'
    with scripted((503, away)) as script:
        with pytest.raises(AuditUnavailableError) as caught:
            ask(script.address, {"attempts": 3}, "list_audits")
        assert (caught.value.code, caught.value.message) == ("DATABASE_ERROR", "later")
        assert len(script.paths) == 3
    page, last = (
        b'{"items": [], "next_cursor": "a+b"}',
        b'{"items": [], "next_cursor": null}',
    )
    with scripted((503, away), (200, page), (503, away), (200, last)) as script:
        assert ask(script.address, {"attempts": 2}, "list_audits", limit=7) == []
        following = "/v1/audit?limit=7&cursor=a%2Bb"
        assert script.paths == ["/v1/audit?limit=7"] * 2 + [following] * 2


@pytest.mark.parametrize("status", [400, 401, 404, 405, 500, 302])
def test_what_is_refused_is_not_tried_again(ask: Ask, status: int) -> None:
    with scripted((status, b"proxy's page")) as script:
        with pytest.raises(AuditClientError) as caught:
            ask(script.address, {}, "get_task_audit_history", NONE)
        assert caught.value.code == f"HTTP_{status}"
        assert caught.value.message
        assert len(script.paths) == 1


def test_a_refused_connection_is_unavailable_after_all_attempts(ask: Ask) -> None:
    with scripted((200, b"[]")) as script:
        address = script.address
    with pytest.raises(AuditUnavailableError, match=f"CONNECTION_ERROR: {address}/v1/audit: "):
        ask(address, {"attempts": 2}, "list_audits")
    assert script.paths == []


def test_an_answer_that_does_not_come_in_time_is_unavailable(ask: Ask) -> None:
    with scripted((None, b"")) as script:
        with pytest.raises(AuditUnavailableError, match=r"CONNECTION_ERROR: .*[Tt]ime"):
            ask(script.address, {"timeout": 0.05, "attempts": 2}, "list_audits")
        assert len(script.paths) == 2


@pytest.mark.parametrize(
    "body",
    [b"<html>hello</html>", b"{}", b'[{"audit_uuid": 1}]', b"[" * 100_000, b"\xff\xfe[", b""],
)
def test_an_answer_that_is_not_the_service_s_is_a_typed_error(ask: Ask, body: bytes) -> None:
    with scripted((200, body)) as script, pytest.raises(AuditClientError) as caught:
        ask(script.address, {}, "get_task_audit_history", NONE)
    assert caught.value.code == "INVALID_RESPONSE"
    assert len(script.paths) == 1


@pytest.mark.parametrize("prefix", ["", "/", "/audit", "/a/b/"])
def test_the_key_and_the_path_prefix_are_sent(ask: Ask, prefix: str) -> None:
    with scripted((200, b"[]")) as script:
        ask(f"{script.address}{prefix}", {"key": "k62"}, "get_step_audit_history", NONE, NONE)
        path = f"/v1/tasks/{NONE}/workflow_steps/{NONE}/audit"
        assert script.paths == [prefix.rstrip("/") + path]
        assert script.headers[0]["authorization"] == "Bearer k62"
        ask(script.address, {}, "get_task_audit_history", NONE)
        assert "authorization" not in script.headers[1]


@pytest.mark.parametrize(
    ("address", "key", "words"),
    [
        ("localhost:8080", None, "'localhost:8080' is no address of a service"),
        ("", None, "'' is no address of a service"),
        ("http://localhost", "schlüssel", "the key cannot be sent"),
        ("http://localhost", "a\nb", "the key cannot be sent"),
    ],
)
def test_an_address_and_a_key_must_be_ones(ask: Ask, address: str, key: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ask(address, {"key": key}, "list_audits")


def test_a_result_with_a_lone_surrogate_and_nul_is_read(
    conn: Connection, address: str, ask: Ask
) -> None:
    (step,) = create_steps(conn)
    for number, text in enumerate([r'["a\u0000b\ud800"]', "[" * 300 + "]" * 300]):
        insert_each(conn, [Transition(step, OK, json.dumps({"event": text}), number)])
    nested, odd = ask(address, {}, "get_step_audit_history", step.task_uuid, step.step_uuid)
    assert odd.result == ["a\0b\ud800"]
    assert json.dumps(nested.result) == "[" * 300 + "]" * 300


def test_clients_are_used_by_many_at_once(conn: Connection, address: str) -> None:
    steps: list[Step] = [result.step for result in record_results(conn, 8)]

    async def run() -> list[list[StepAuditResponse]]:
        async with AsyncAuditClient(address) as client:
            return await asyncio.gather(
                *(client.get_step_audit_history(s.task_uuid, s.step_uuid) for s in steps * 3)
            )

    found = [audits[0].workflow_step_uuid for audits in asyncio.run(run())]
    assert found == [step.step_uuid for step in steps * 3]


def test_all_that_the_package_names_is_there() -> None:
    for name in step_audit.__all__:
        assert getattr(step_audit, name).__name__ == name


def test_the_client_has_a_method_for_each_route(conn: Connection, ask: Ask) -> None:
    (result,) = record_results(conn, 1)
    (row,) = conn.execute("SELECT * FROM list_step_audits()").fetchall()
    task, step = result.step.task_uuid, result.step.step_uuid
    audit = row["workflow_step_result_audit_uuid"]
    calls: dict[str, tuple[uuid.UUID, ...]] = {
        "get_step_audit_history": (task, step),
        "get_task_audit_history": (task,),
        "get_step_actions": (task, step),
        "get_task_actions": (task,),
        "get_step_changes": (task, step),
        "get_task_changes": (task,),
        "list_audits": (),
        "list_changes": (),
        "get_audit": (audit,),
        "get_health": (),
    }
    with serving(create_app(dsn_of(conn))) as address:
        replies = {method: ask(address, {}, method, *args) for method, args in calls.items()}
        paths = set(httpx.get(f"{address}/openapi.json").json()["paths"])
        counted = httpx.get(f"{address}/metrics").text
    assert replies["get_audit"] == replies["list_audits"][0] == replies["get_task_audit_history"][0]
    assert replies["get_health"].trigger_state == "enabled"
    asked = set(re.findall(r'_count\{route="([^"]+)",status="200"\}', counted))
    # The document has no name of ours.
    assert asked - {"none"} == paths - {"/livez", "/readyz", "/metrics"}
