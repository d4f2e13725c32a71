"""Failures and durations over time, of a worker and of a step name."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from datetime import datetime
from statistics import median_low
from typing import Any

import psycopg
import pytest

from step_audit.database import Connection
from tests.functions.test_indexes import plans
from tests.support.host import (
    HOST,
    OK,
    Step,
    Transition,
    create_steps,
    delete_transitions,
    insert_each,
    insert_together,
)

WORKER, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)


def result(step: Step, number: int, worker: uuid.UUID) -> Transition:
    data = {"success": number % 4 > 0}
    metadata = {"event": json.dumps({"data": data}), "worker_uuid": str(worker)}
    return Transition(step, OK, json.dumps(metadata), number)


def rates(conn: Connection, **arguments: Any) -> list[dict[str, Any]]:
    named = ", ".join(f"{name} => %({name})s" for name in arguments)
    return conn.execute(
        f"SELECT * FROM list_step_audit_rates({named})".encode(), arguments
    ).fetchall()


@pytest.fixture
def recorded(conn: Connection) -> list[dict[str, Any]]:
    """Results of two workers and two step names over three days; as the view has them."""
    first, second = create_steps(conn, 2)
    for number in range(0, 40, 2):
        worker = (WORKER, OTHER)[number % 4 // 2]
        insert_each(conn, [Transition(first, "in_progress", "{}", number)])
        insert_together(
            conn,
            [
                result(first, number + 1, WORKER),
                result(second, number, worker),
            ],
        )
    conn.execute("ALTER TABLE tasker_workflow_step_result_audit DISABLE TRIGGER ALL")
    conn.execute(
        "UPDATE tasker_workflow_step_result_audit AS a "
        "SET recorded_at = '2026-11-01'::timestamp + t.sort_key * interval '100 minutes' "
        f"FROM {HOST.transitions} AS t "
        "WHERE t.workflow_step_transition_uuid = a.workflow_step_transition_uuid".encode()
    )
    rows = conn.execute("SELECT * FROM step_audits").fetchall()
    assert len(rows) == 40
    return rows


RANGE = {"p_recorded_from": "2026-11-01Z", "p_recorded_until": "2026-11-04Z"}


@pytest.mark.parametrize("width", ["1 hour", "1 day"])
@pytest.mark.parametrize(
    ("asked", "column", "value"),
    [
        ("p_worker_uuid", "worker_uuid", WORKER),
        ("p_worker_uuid", "worker_uuid", OTHER),
        ("p_step_name", "step_name", "step_0"),
        ("p_step_name", "step_name", "step_1"),
    ],
)
def test_each_span_has_its_results(
    conn: Connection,
    recorded: list[dict[str, Any]],
    width: str,
    asked: str,
    column: str,
    value: object,
) -> None:
    def start(at: datetime) -> datetime:
        at = at.replace(minute=0, second=0, microsecond=0)
        return at.replace(hour=0) if width == "1 day" else at

    found = rates(conn, **{asked: value, "p_width": width}, **RANGE)
    matching = [row for row in recorded if row[column] == value]
    assert Counter({row["span_start"]: row["results"] for row in found}) == Counter(
        start(row["recorded_at"]) for row in matching
    )
    assert [row["span_start"] for row in found] == sorted(row["span_start"] for row in found)
    for span in found:
        of_span = [row for row in matching if start(row["recorded_at"]) == span["span_start"]]
        elapsed = [row["elapsed_ms"] for row in of_span if row["elapsed_ms"] is not None]
        assert span["failures"] == sum(not row["success"] for row in of_span)
        assert span["median_ms"] == (median_low(elapsed) if elapsed else None)
        assert span["p95_ms"] == (max(elapsed) if len(elapsed) < 20 and elapsed else span["p95_ms"])


def test_a_range_and_a_limit_keep_the_newest(
    conn: Connection, recorded: list[dict[str, Any]]
) -> None:
    newest = sorted(row["recorded_at"] for row in recorded if row["worker_uuid"] == WORKER)[-5:]
    found = rates(conn, p_worker_uuid=WORKER, p_limit=5, p_width="1 minute", **RANGE)
    assert sum(row["results"] for row in found) == 5
    assert found[0]["span_start"] == newest[0]
    assert rates(conn, p_worker_uuid=WORKER, p_recorded_until="2026-11-01Z") == []
    assert rates(conn, p_worker_uuid=uuid.uuid4(), **RANGE) == []
    assert rates(conn, p_step_name="no such step", **RANGE) == []


def test_steps_that_the_engine_has_deleted_count_by_their_last_name(
    conn: Connection, recorded: list[dict[str, Any]]
) -> None:
    before = rates(conn, p_step_name="step_0", **RANGE)
    delete_transitions(conn)
    conn.execute(f"DELETE FROM {HOST.steps}".encode())
    after = rates(conn, p_step_name="step_0", **RANGE)
    assert [row["results"] for row in after] == [row["results"] for row in before] != []


def test_another_width_is_refused(conn: Connection) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="1 minute, 1 hour or 1 day"):
        rates(conn, p_width="2 days")


def test_rates_read_the_audit_by_its_indexes(conn: Connection) -> None:
    steps = create_steps(conn, 200)
    for number in range(10):
        workers = (WORKER, OTHER)
        insert_together(conn, [result(step, number, workers[number > 0]) for step in steps])
    conn.execute("ANALYZE")
    given = {"worker": WORKER, "from": datetime(2100, 1, 1)}
    for call, index in (
        ("list_step_audit_rates(p_worker_uuid => %(worker)s)", "idx_audit_worker_uuid"),
        ("list_step_audit_rates(p_step_name => 'step_0', p_limit => 10)", "idx_audit_recorded_at"),
    ):
        assert index in plans(conn, call, given)
