"""``/metrics``: what it tells, to whom, and that no number of records makes it dear."""

from __future__ import annotations

import json
import re

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from step_audit.database import Connection, call
from step_audit.read.web import create_app
from step_audit.read.web.keys import Keys
from tests.functions.test_indexes import plans
from tests.support.connect import dsn_of
from tests.support.host import HOST, OK, Transition, create_steps, insert_together
from tests.support.results import record_results
from tests.support.roles import login_roles
from tests.support.service import serving

Samples = dict[tuple[str, str], float]


def scrape(address: str, **headers: str) -> Samples:
    """Each sample by its name and the value of its one label, if it has one."""
    reply = httpx.get(f"{address}/metrics", headers=headers)
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/plain")
    families = list(text_string_to_metric_families(reply.text))
    assert all(family.documentation for family in families)
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


def unsealed(found: Samples) -> list[float]:
    return [found["step_audit_unsealed_records", kind] for kind in ("result", "change", "event")]


def test_it_tells_how_the_audit_is(conn: Connection) -> None:
    steps = create_steps(conn, 3)
    odd = [Transition(step, OK, '{"event": {}, "worker_uuid": 1}', 1) for step in steps]
    insert_together(conn, odd)
    record_results(conn, 4)
    with serving(create_app(dsn_of(conn))) as address:
        found = scrape(address)
        assert found["step_audit_up", ""] == 1
        assert found["step_audit_attached", ""] == 1
        assert found["step_audit_trigger_enabled", ""] == 1
        assert found["step_audit_records", "result"] == 7
        assert found["step_audit_anomalies", "worker_uuid"] == 3
        assert found["step_audit_recent_unaudited_results", ""] == 0
        assert found["step_audit_table_bytes", "step_audit_events"] > 0
        assert found["step_audit_sealed_records", ""] == 0
        assert unsealed(found) == [7, 0, 0]
        assert 0 < found["step_audit_oldest_unsealed_age_seconds", ""] < 600
        assert ("step_audit_last_seal_timestamp_seconds", "") not in found

        call(conn, HOST.audit_schema, "seal_step_result_audit")
        found = scrape(address)
        assert found["step_audit_sealed_records", ""] == 7
        assert unsealed(found) == [0, 0, 0]
        assert found["step_audit_oldest_unsealed_age_seconds", ""] == 0
        assert found["step_audit_last_seal_timestamp_seconds", ""] > 1.7e9

        conn.execute(f"ALTER TABLE {HOST.transitions} DISABLE TRIGGER {HOST.trigger}".encode())
        record_results(conn, 2)
        conn.execute(f"ALTER TABLE {HOST.transitions} ENABLE TRIGGER {HOST.trigger}".encode())
        record_results(conn, 1)
        found = scrape(address)
        assert found["step_audit_recent_unaudited_results", ""] == 2
        assert unsealed(found) == [1, 0, 0]
        assert found["step_audit_http_request_duration_seconds_count", "/metrics,200"] == 2


def test_requests_are_timed_by_route_and_never_by_what_was_asked(conn: Connection) -> None:
    (result,) = record_results(conn, 1)
    with serving(create_app(dsn_of(conn))) as address:
        httpx.get(f"{address}/v1/tasks/{result.step.task_uuid}/audit")
        httpx.head(f"{address}/v1/audit")
        for number in range(3):
            httpx.get(f"{address}/nothing/{number}")
        found = scrape(address)
    counted = {
        labels: count
        for (name, labels), count in found.items()
        if name == "step_audit_http_request_duration_seconds_count"
    }
    assert counted == {
        "/v1/tasks/{task_uuid}/audit,200": 1,
        "/v1/audit,200": 1,
        "none,404": 3,
    }


def test_it_asks_for_a_key_where_there_are_keys(conn: Connection) -> None:
    with serving(create_app(dsn_of(conn), keys=Keys(["right"]))) as address:
        assert httpx.get(f"{address}/metrics").status_code == 401
        assert scrape(address, authorization="Bearer right")["step_audit_up", ""] == 1


def test_a_reader_has_the_rights_for_it(conn: Connection) -> None:
    record_results(conn, 1)
    with login_roles(conn, "reader"):
        call(conn, HOST.audit_schema, "grant_step_audit", p_role="reader", p_as="reader")
        with serving(create_app(dsn_of(conn, user="reader"))) as address:
            assert unsealed(scrape(address)) == [1, 0, 0]


def test_a_database_that_is_away_is_told_as_such() -> None:
    nowhere = "host=/nowhere dbname=postgres"
    with serving(create_app(nowhere)) as address:
        found = scrape(address)
    assert found["step_audit_up", ""] == 0
    assert not [name for name, _ in found if name.startswith("step_audit_records")]


@pytest.fixture
def many(conn: Connection) -> Connection:
    """Thirty thousand sealed results, more than are counted, and one that is not."""
    steps = create_steps(conn, 300)
    metadata = json.dumps({"event": {}, "worker_uuid": 1})
    for number in range(100):
        insert_together(conn, [Transition(step, OK, metadata, number) for step in steps])
    call(conn, HOST.audit_schema, "seal_step_result_audit")
    # The planner is left without statistics, to which a table that grows quickly is unknown.
    conn.execute("SELECT brin_summarize_new_values('idx_audit_recorded_xid')")
    record_results(conn, 1)
    return conn


def test_no_table_of_many_records_is_read_as_a_whole(many: Connection) -> None:
    plan = plans(many, "get_step_audit_metrics()", {})
    assert "idx_audit_recorded_xid" in plan
    assert "Seq Scan on tasker_workflow_step_result_audit a" not in plan
    assert not re.search(rf"Seq Scan on {HOST.transitions}", plan)
