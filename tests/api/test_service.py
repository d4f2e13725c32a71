"""What the service replies over a real socket, from a real database."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import psycopg
from psycopg import sql

from step_audit.database import Connection
from step_audit.read.web import create_app
from step_audit.setup.sources import load_sources
from tests.support.connect import dsn_of
from tests.support.host import (
    FAILED,
    HOST,
    OK,
    Step,
    Transition,
    create_steps,
    delete_transitions,
    insert_each,
    insert_together,
    real_transitions,
)
from tests.support.replies import expected_replies
from tests.support.results import record_results
from tests.support.service import serving

FIELDS = set(
    "audit_uuid workflow_step_uuid transition_uuid task_uuid recorded_at worker_uuid "
    "correlation_id success execution_time_ms elapsed_ms backfilled recorded_by step_name "
    "from_state to_state changes deleted result".split()
)


def history_path(step: Step) -> str:
    return f"/v1/tasks/{step.task_uuid}/workflow_steps/{step.step_uuid}/audit"


def play_real(conn: Connection) -> Step:
    """What a real worker wrote, as one step's history."""
    (step,) = create_steps(conn)
    for number, found in enumerate(real_transitions()):
        metadata = json.dumps(found["metadata"])
        transition = Transition(step, found["to_state"], metadata, number, found["from_state"])
        insert_each(conn, [transition])
    return step


def test_step_history_is_a_bare_array_newest_first_as_the_real_client_parses_it(
    conn: Connection, http: httpx.Client
) -> None:
    step = play_real(conn)
    reply = http.get(history_path(step))
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
    audits = reply.json()
    assert audits == expected_replies(conn, step=step.step_uuid)
    assert [audit["to_state"] for audit in audits] == [OK, FAILED, OK]
    assert [audit["success"] for audit in audits] == [True, False, True]
    for audit in audits:
        assert set(audit) == FIELDS
        flags, numbers = {"success", "backfilled", "deleted"}, {"execution_time_ms", "elapsed_ms"}
        for name in FIELDS - flags - numbers - {"changes", "result"}:
            assert isinstance(audit[name], str), name
        assert all(type(audit[name]) is bool for name in flags)
        assert type(audit["execution_time_ms"]) is int
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", audit["recorded_at"])
        assert audit["result"]["step_uuid"]


def test_what_is_not_known_is_null_and_a_deleted_result_is_shown_as_it_stood(
    conn: Connection, http: httpx.Client
) -> None:
    (step,) = create_steps(conn)
    insert_each(conn, [Transition(step, FAILED, "{}", 1)])
    (audit,) = http.get(history_path(step)).json()
    absent = {name for name, value in audit.items() if value is None}
    assert absent == {
        *("worker_uuid", "correlation_id", "execution_time_ms", "elapsed_ms"),
        *("from_state", "result"),
    }
    assert audit["success"] is False

    delete_transitions(conn)
    (deleted,) = http.get(history_path(step)).json()
    assert deleted == audit | {"changes": 1, "deleted": True}


def test_a_transition_that_is_gone_without_a_trace_has_empty_names(
    conn: Connection, http: httpx.Client
) -> None:
    (step,) = create_steps(conn)
    insert_each(conn, [Transition(step, FAILED, "{}", 1)])
    (audit,) = http.get(history_path(step)).json()
    conn.execute("SET session_replication_role = replica")
    delete_transitions(conn)
    (orphan,) = http.get(history_path(step)).json()
    assert orphan == audit | {"to_state": ""}


def test_the_result_goes_out_as_it_stands(conn: Connection, http: httpx.Client) -> None:
    (step,) = create_steps(conn)
    result = (
        '{"success": true,  "result": [1.000000000000000000001, 1E+400, -0, "a\\u0000b", '
        '"\\ud800", "\\u00e9", "é", 12345678901234567890123], "metadata": {}}'
    )
    event = f'{{"type": "EnqueueForOrchestration", "data": {result}}}'
    insert_each(conn, [Transition(step, OK, json.dumps({"event": event}), 1)])
    content = http.get(history_path(step)).content
    assert content.endswith(b',"result":%b}]' % result.encode())


def test_a_step_without_results_has_an_empty_array(conn: Connection, http: httpx.Client) -> None:
    (step,) = create_steps(conn)
    insert_each(conn, [Transition(step, "in_progress", "{}", 1)])
    for path in (history_path(step), f"/v1/tasks/{step.task_uuid}/audit"):
        reply = http.get(path)
        assert (reply.status_code, reply.text) == (200, "[]")
    assert http.get("/v1/audit").json() == {"items": [], "next_cursor": None}


def test_replies_are_the_same_under_another_time_zone_of_the_server(conn: Connection) -> None:
    step = play_real(conn)
    expected = expected_replies(conn, step=step.step_uuid)
    conn.execute(
        sql.SQL("ALTER DATABASE {} SET timezone = 'America/New_York'").format(
            sql.Identifier(conn.info.dbname)
        )
    )
    with psycopg.connect(conn.info.dsn) as other:
        assert other.info.parameter_status("TimeZone") == "America/New_York"
    with serving(create_app(dsn_of(conn))) as address, httpx.Client(base_url=address) as http:
        assert http.get(history_path(step)).json() == expected
        newest = expected[0]["recorded_at"]
        for time in (newest, newest.removesuffix("Z")):
            page = http.get("/v1/audit", params={"recorded_from": time}).json()
            assert page["items"] == expected[:1]


def test_task_history_has_the_results_of_all_its_steps(
    conn: Connection, http: httpx.Client
) -> None:
    first, other, elsewhere = (result.step for result in record_results(conn, 3))
    assert first.task_uuid == other.task_uuid != elsewhere.task_uuid
    audits = http.get(f"/v1/tasks/{first.task_uuid}/audit").json()
    assert audits == expected_replies(conn, task=first.task_uuid)
    assert {audit["step_name"] for audit in audits} == {"step_0", "step_1"}


def test_one_audit_is_found_by_its_key(conn: Connection, http: httpx.Client) -> None:
    record_results(conn, 2)
    for audit in expected_replies(conn):
        assert http.get(f"/v1/audit/{audit['audit_uuid']}").json() == audit


def record_each_later(conn: Connection, count: int = 12) -> list[dict[str, Any]]:
    """Results of two workers and correlation ids, in pairs at one instant; as replied."""
    steps = create_steps(conn, 4)
    for number in range(count // 2):
        data = {"success": number % 2 == 0, "metadata": {"execution_time_ms": number * 10}}
        metadata = {
            "event": json.dumps({"type": "x", "data": data}),
            "worker_uuid": str(uuid.UUID(int=number % 2)),
            "correlation_id": str(uuid.UUID(int=number % 3)),
        }
        pair = [Transition(steps[n], OK, json.dumps(metadata), number) for n in (0, number % 3 + 1)]
        insert_together(conn, pair)
    return expected_replies(conn)


def test_each_filter_lets_through_what_it_names(conn: Connection, http: httpx.Client) -> None:
    audits = record_each_later(conn)
    middle: str = audits[5]["recorded_at"]
    worker, correlation = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
    step, task = audits[0]["workflow_step_uuid"], audits[0]["task_uuid"]
    filters: dict[str, tuple[object, Callable[[dict[str, Any]], bool]]] = {
        "step_uuid": (step, lambda a: a["workflow_step_uuid"] == step),
        "task_uuid": (task, lambda a: a["task_uuid"] == task),
        "worker_uuid": (worker, lambda a: a["worker_uuid"] == worker),
        "correlation_id": (correlation, lambda a: a["correlation_id"] == correlation),
        "success": (False, lambda a: a["success"] is False),
        "recorded_from": (middle, lambda a: a["recorded_at"] >= middle),
        "recorded_until": (middle, lambda a: a["recorded_at"] < middle),
        "min_execution_time_ms": (30, lambda a: a["execution_time_ms"] >= 30),
    }
    for first, (value, keeps) in filters.items():
        for second, (other, also_keeps) in filters.items():
            expected = [audit for audit in audits if keeps(audit) and also_keeps(audit)]
            page = http.get("/v1/audit", params={first: str(value), second: str(other)}).json()
            assert page == {"items": expected, "next_cursor": None}, (first, second)
        assert 0 < len([audit for audit in audits if keeps(audit)]) < len(audits), first


def read_pages(http: httpx.Client, limit: int) -> Iterator[list[dict[str, Any]]]:
    given: dict[str, Any] = {"limit": limit}
    while True:
        page = http.get("/v1/audit", params=given).json()
        yield page["items"]
        if page["next_cursor"] is None:
            return
        given["cursor"] = page["next_cursor"]


def test_pages_joined_are_the_whole_list(conn: Connection, http: httpx.Client) -> None:
    audits = record_each_later(conn)
    assert len(audits) == 12
    for limit in (1, 2, 5, 11, 12, 13, 1000):
        pages = list(read_pages(http, limit))
        assert [audit for page in pages for audit in page] == audits
        assert len(pages) == -(-len(audits) // limit)


def test_a_page_has_a_hundred_audits_unless_told_otherwise_and_a_thousand_at_most(
    conn: Connection, http: httpx.Client
) -> None:
    (step,) = create_steps(conn)
    insert_together(conn, [Transition(step, OK, "{}", number) for number in range(1001)])
    for params, count in (({}, 100), ({"limit": 1000}, 1000)):
        page = http.get("/v1/audit", params=params).json()
        assert len(page["items"]) == count
        assert page["next_cursor"]


def test_health_says_what_is_installed(conn: Connection, http: httpx.Client) -> None:
    reply = http.get("/health")
    assert reply.status_code == 200
    assert reply.json() == {
        "status": "ok",
        "release": load_sources().release,
        "attached": True,
        "trigger_state": "enabled",
    }


def test_health_fails_where_results_are_not_audited(conn: Connection, http: httpx.Client) -> None:
    for change, words in (
        (f"DISABLE TRIGGER {HOST.trigger}", "the trigger is disabled"),
        (f"ENABLE REPLICA TRIGGER {HOST.trigger}", "the trigger is replica only"),
        ("DISABLE TRIGGER ALL", "the trigger is disabled"),
    ):
        conn.execute(f"ALTER TABLE {HOST.transitions} {change}".encode())
        assert_not_attached(http, words)
        conn.execute(f"ALTER TABLE {HOST.transitions} ENABLE TRIGGER ALL".encode())
        assert http.get("/health").status_code == 200


def test_health_fails_where_view_or_trigger_is_gone(conn: Connection, http: httpx.Client) -> None:
    conn.execute("DROP VIEW step_audits")
    assert_not_attached(http, "the view step_audits is missing: attach")
    conn.execute(f"DROP TRIGGER {HOST.trigger} ON {HOST.transitions}".encode())
    assert_not_attached(http, "the trigger is missing")


def assert_not_attached(http: httpx.Client, words: str) -> None:
    reply = http.get("/health")
    assert reply.status_code == 503
    message = f"the audit is not attached as installed: {words}"
    assert reply.json() == {"error": {"code": "SERVICE_UNAVAILABLE", "message": message}}


def test_ten_thousand_results_of_one_step_are_one_array(
    conn: Connection, http: httpx.Client
) -> None:
    (step,) = create_steps(conn)
    conn.execute(
        """
        INSERT INTO tasker_workflow_step_transitions
            (workflow_step_uuid, to_state, sort_key, most_recent, metadata)
        SELECT %s, s.to_state, 2 * n + s.part, FALSE, jsonb_build_object('event', s.event)
        FROM generate_series(1, 10000) AS n
        CROSS JOIN LATERAL (
            VALUES (0, 'in_progress', NULL), (1, %s, json_build_object('n', n)::text)
        ) AS s (part, to_state, event)
        """,
        (step.step_uuid, OK),
    )
    conn.execute("ANALYZE")
    reply = http.get(history_path(step))
    assert "content-length" not in reply.headers
    audits = reply.json()
    assert sorted(audit["result"]["n"] for audit in audits) == list(range(1, 10001))
    assert all(set(audit) == FIELDS for audit in audits)
    order = [(audit["recorded_at"], audit["result"]["n"]) for audit in audits]
    assert order == sorted(order, reverse=True)


def test_a_time_range_is_what_the_caller_says_in_whatever_zone(
    conn: Connection, http: httpx.Client
) -> None:
    record_results(conn, 1)
    (audit,) = expected_replies(conn)
    recorded = datetime.fromisoformat(audit["recorded_at"])
    for hours in (-12, 0, 14):
        shifted = recorded + timedelta(hours=hours)
        zone = f"{hours:+03}:00"
        for microseconds, count in ((0, 1), (1, 0)):
            time = shifted + timedelta(microseconds=microseconds)
            given = {"recorded_from": time.strftime("%Y-%m-%dT%H:%M:%S.%f") + zone}
            assert len(http.get("/v1/audit", params=given).json()["items"]) == count
