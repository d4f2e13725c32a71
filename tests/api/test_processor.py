"""The processor: what a worker reports is stored whole, attributed and audited, or refused."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC
from types import MappingProxyType
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.pq import TransactionStatus

from step_audit.database import Connection
from step_audit.engine.processor import StepResultProcessor, process_worker_uuid
from step_audit.engine.state_machine import StepStateMachine, StepTransition
from step_audit.engine.states import EventType, StepEvent
from step_audit.errors import StepNotFoundError
from step_audit.trust import reading as oracle
from tests.support.audit import AuditRow, audit_rows
from tests.support.connect import connect_again
from tests.support.host import FAILED, HOST, OK, Step, create_steps
from tests.support.install import install_audit
from tests.support.lifecycle import (
    RESULTS,
    chain,
    correlation_id,
    event_of,
    everything_written,
    put,
    started_step,
)

WORKER = uuid.uuid4()

# A fresh interpreter prints its own UUID, as threads see it that ask at the same time, its child's,
# and its own again.
PRINT_UUIDS = """
import os, sys, threading
from concurrent.futures import ThreadPoolExecutor
from step_audit.engine.processor import process_worker_uuid

sys.setswitchinterval(1e-6)
together = threading.Barrier(8)
def ask(_):
    together.wait()
    return process_worker_uuid()
with ThreadPoolExecutor(8) as pool:
    print(*set(pool.map(ask, range(8))), flush=True)
if os.fork() == 0:
    print(*{process_worker_uuid() for _ in range(3)}, flush=True)
    os._exit(0)
os.wait()
print(process_worker_uuid())
"""


def stored_result(conn: Connection, done: StepTransition) -> Any:
    """The result as SQL gives it back."""
    row = conn.execute(
        "SELECT get_step_result(metadata)::text AS text FROM tasker_workflow_step_transitions "
        "WHERE workflow_step_transition_uuid = %s",
        (done.transition_uuid,),
    ).fetchone()
    assert row is not None
    return json.loads(row["text"])


@pytest.mark.parametrize("success", [True, False])
def test_a_result_is_written_with_its_event_and_audited_with_its_attribution(
    conn: Connection, success: bool
) -> None:
    step = started_step(conn)
    result = {
        "step_uuid": str(step.step_uuid),
        "success": success,
        "result": {"charged": 42} if success else None,
        "metadata": {"execution_time_ms": 1234},
    }
    done = StepResultProcessor(conn, WORKER).handle_send_step_result(result)
    written = chain(conn, step)[-1]
    to_state, event = (
        (OK, "EnqueueForOrchestration") if success else (FAILED, "EnqueueAsErrorForOrchestration")
    )
    assert (done.transition_uuid, done.to_state) == (written.transition_uuid, to_state)
    assert written.to_state == to_state
    assert event_of(written) == [("type", event), ("data", result)]
    assert audit_rows(conn) == {
        written.transition_uuid: AuditRow(
            transition_uuid=written.transition_uuid,
            step_uuid=step.step_uuid,
            task_uuid=step.task_uuid,
            worker_uuid=WORKER,
            correlation_id=correlation_id(conn, step),
            success=success,
            execution_time_ms=1234,
            backfilled=False,
            recorded_with_transition=True,
            anomalies={},
        )
    }


def test_whatever_a_result_holds_is_read_back_equal_and_audited_right(conn: Connection) -> None:
    step = started_step(conn)
    correlation = correlation_id(conn, step)
    processor = StepResultProcessor(conn, WORKER)

    @settings(max_examples=300)
    @given(RESULTS, st.sampled_from([str, uuid.UUID, str.upper, "urn:uuid:{}".format]))
    def law(generated: dict[str, Any], form: Callable[[str], Any]) -> None:
        result = generated | {"step_uuid": form(str(step.step_uuid))}
        before = deepcopy(result)
        with conn.transaction(force_rollback=True):
            done = processor.handle_send_step_result(result)
            assert result == before
            # Two surrogates that make a character come back as it, from any JSON.
            expected = json.loads(json.dumps(generated | {"step_uuid": str(step.step_uuid)}))
            assert stored_result(conn, done) == expected
            reading = oracle.read(done.to_state, chain(conn, step)[-1].metadata_text)
            audit = audit_rows(conn)[done.transition_uuid]
            assert (audit.worker_uuid, audit.correlation_id) == (WORKER, correlation)
            assert audit.success is result["success"] is (done.to_state == OK)
            assert audit.execution_time_ms == reading.execution_time_ms
            assert audit.anomalies == reading.anomalies

    law()


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("a\0b", id="NUL"),
        pytest.param({"\0": "\\u0000"}, id="NUL as a key, and its escape as text"),
        pytest.param("\ud800 \udfff", id="lone surrogates"),
        pytest.param("🐘 naïve ☕", id="emoji"),
        pytest.param([10**4000, -(2**63), 2**64], id="huge integers"),
        pytest.param([1e308, 5e-324, -0.0], id="extreme floats"),
        pytest.param("☕" * 300_000, id="a long text"),
        pytest.param(["x"] * 100_000, id="a long list"),
        pytest.param({"event": "{", "data": {"success": None}, "type": "Start"}, id="look-alikes"),
    ],
)
def test_a_hostile_value_is_stored_and_read_back_equal(conn: Connection, value: Any) -> None:
    step = started_step(conn)
    result = {"step_uuid": step.step_uuid, "success": True, "result": value, "data": value}
    done = StepResultProcessor(conn, WORKER).handle_send_step_result(result)
    assert stored_result(conn, done) == result | {"step_uuid": str(step.step_uuid)}
    (audit,) = audit_rows(conn).values()
    assert (audit.success, audit.worker_uuid, audit.anomalies) == (True, WORKER, {})


@pytest.mark.parametrize("encoding", ["EUC_JP", "SQL_ASCII"])
def test_a_server_that_lacks_characters_stores_them_all_the_same(
    conn: Connection, encoding: str
) -> None:
    name = f"{conn.info.dbname}_{encoding.lower()}"
    conn.execute(
        f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0".encode()
    )
    try:
        with connect_again(conn, dbname=name, client_encoding="utf8") as narrow:
            HOST.create(narrow)
            install_audit(narrow)
            step = started_step(narrow)
            result = {"step_uuid": str(step.step_uuid), "success": True, "result": "é☕🐘\0\ud800"}
            done = StepResultProcessor(narrow, WORKER).handle_send_step_result(result)
            assert stored_result(narrow, done) == result
            assert len(audit_rows(narrow)) == 1
    finally:
        conn.execute(f"DROP DATABASE {name}".encode())


def step_row(conn: Connection, step: Step) -> dict[str, Any]:
    row = conn.execute(
        f"SELECT * FROM {HOST.steps} WHERE workflow_step_uuid = %s".encode(), (step.step_uuid,)
    ).fetchone()
    assert row is not None
    return row


@pytest.fixture
def with_columns(conn: Connection) -> Connection:
    """The columns of today's engine, in either layout."""
    conn.execute(
        f"ALTER TABLE {HOST.steps} ADD COLUMN IF NOT EXISTS in_process boolean, "
        "ADD COLUMN IF NOT EXISTS attempts integer, ADD COLUMN IF NOT EXISTS results jsonb, "
        "ADD COLUMN IF NOT EXISTS updated_at timestamp(6), "
        "ADD COLUMN IF NOT EXISTS last_attempted_at timestamptz".encode()
    )
    return conn


@pytest.mark.parametrize("success", [True, False])
def test_a_dependent_step_finds_its_input(with_columns: Connection, success: bool) -> None:
    conn = with_columns
    step, other = create_steps(conn, 2)
    untouched = step_row(conn, other)
    machine = StepStateMachine(conn)
    for attempt in (1, 2):
        machine.transition(step.step_uuid, StepEvent(EventType.START))
        started = step_row(conn, step)
        assert (started["in_process"], started["attempts"]) == (True, attempt)
        assert started["last_attempted_at"] == started["updated_at"].replace(tzinfo=UTC)
        result = {
            "step_uuid": str(step.step_uuid),
            "success": success,
            "result": {"charged": attempt},
        }
        StepResultProcessor(conn, WORKER).handle_send_step_result(result)
        done = step_row(conn, step)
        assert (done["in_process"], done["attempts"], done["results"]) == (False, attempt, result)
        assert done["updated_at"] > started["updated_at"]
        put(conn, step, "pending")
    assert step_row(conn, other) == untouched


@pytest.mark.parametrize("value", ["a\0b", "\ud800"])
def test_what_jsonb_cannot_hold_stands_in_the_transition_alone(
    with_columns: Connection, value: str
) -> None:
    conn = with_columns
    step = started_step(conn)
    conn.execute(f"""UPDATE {HOST.steps} SET in_process = TRUE, results = '"before"'""".encode())
    result = {"step_uuid": str(step.step_uuid), "success": True, "result": value}
    done = StepResultProcessor(conn, WORKER).handle_send_step_result(result)
    assert stored_result(conn, done) == result
    row = step_row(conn, step)
    assert (row["in_process"], row["results"]) == (False, None)


def test_columns_of_other_types_are_left_alone(with_columns: Connection) -> None:
    conn = with_columns
    conn.execute(
        f"ALTER TABLE {HOST.steps} ALTER results TYPE json USING results::json, "
        "ALTER attempts TYPE text, ALTER in_process DROP DEFAULT, "
        "ALTER in_process TYPE text, ALTER updated_at TYPE timestamptz".encode()
    )
    (step,) = create_steps_with(conn, in_process="no")
    StepStateMachine(conn).transition(step.step_uuid, StepEvent(EventType.START))
    result = {"step_uuid": str(step.step_uuid), "success": True, "result": 1}
    StepResultProcessor(conn, WORKER).handle_send_step_result(result)
    row = step_row(conn, step)
    assert (row["in_process"], row["attempts"], row["results"]) == ("no", None, result)


def create_steps_with(conn: Connection, in_process: str) -> list[Step]:
    conn.execute(f"ALTER TABLE {HOST.steps} ALTER in_process SET DEFAULT '{in_process}'".encode())
    return create_steps(conn)


def test_what_is_called_with_a_result_is_of_its_transaction(conn: Connection) -> None:
    conn.execute("CREATE TABLE queue (transition_uuid uuid, step_uuid uuid)")

    def send(given: Any, done: StepTransition, result: Any) -> None:
        assert given.info.transaction_status == TransactionStatus.INTRANS
        given.execute(
            "INSERT INTO queue VALUES (%s, %s)", (done.transition_uuid, result["step_uuid"])
        )

    step = started_step(conn)
    processor = StepResultProcessor(conn, WORKER, on_recorded=send)
    done = processor.handle_send_step_result({"step_uuid": step.step_uuid, "success": True})
    assert conn.info.transaction_status == TransactionStatus.IDLE
    assert conn.execute("SELECT * FROM queue").fetchall() == [
        {"transition_uuid": done.transition_uuid, "step_uuid": step.step_uuid}
    ]


def test_where_what_is_called_raises_nothing_is_written(conn: Connection) -> None:
    def fail(*_: Any) -> None:
        raise OSError("the queue is away")

    step = started_step(conn)
    before = everything_written(conn)
    with pytest.raises(OSError, match="the queue is away"):
        StepResultProcessor(conn, on_recorded=fail).handle_send_step_result(
            {"step_uuid": step.step_uuid, "success": True}
        )
    assert everything_written(conn) == before


def test_any_mapping_is_a_result(conn: Connection) -> None:
    step = started_step(conn)
    result = MappingProxyType({"step_uuid": step.step_uuid, "success": True})
    done = StepResultProcessor(conn, WORKER).handle_send_step_result(result)
    assert stored_result(conn, done) == {"step_uuid": str(step.step_uuid), "success": True}


def test_without_autocommit_a_result_is_committed_at_once(conn: Connection) -> None:
    step = started_step(conn)
    with psycopg.connect(conn.info.dsn) as client:
        processor = StepResultProcessor(client, WORKER)
        processor.handle_send_step_result({"step_uuid": step.step_uuid, "success": True})
        assert client.info.transaction_status == TransactionStatus.IDLE
        with pytest.raises(StepNotFoundError):
            processor.handle_send_step_result({"step_uuid": uuid.uuid4(), "success": True})
        assert client.info.transaction_status == TransactionStatus.IDLE
        client.rollback()
    assert [row.to_state for row in chain(conn, step)] == ["in_progress", OK]
    assert len(audit_rows(conn)) == 1


def test_a_result_goes_with_the_callers_transaction(conn: Connection) -> None:
    step = started_step(conn)
    before = everything_written(conn)
    with conn.transaction(force_rollback=True):
        StepResultProcessor(conn).handle_send_step_result(
            {"step_uuid": step.step_uuid, "success": True}
        )
        assert len(audit_rows(conn)) == 1
    assert everything_written(conn) == before


def test_without_a_worker_uuid_results_are_attributed_to_this_process(conn: Connection) -> None:
    for step in create_steps(conn, 2):
        put(conn, step, "in_progress")
        processor = StepResultProcessor(conn)
        assert processor.worker_uuid == process_worker_uuid()
        processor.handle_send_step_result({"step_uuid": step.step_uuid, "success": True})
    workers = {audit.worker_uuid for audit in audit_rows(conn).values()}
    assert workers == {process_worker_uuid()}


def test_the_worker_uuid_of_a_process_is_of_version_7_and_a_childs_is_another() -> None:
    began = time.time_ns() // 1_000_000
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PRINT_UUIDS],
        capture_output=True,
        text=True,
        check=True,
    )
    ended = time.time_ns() // 1_000_000
    parent, child, parent_again = (uuid.UUID(line) for line in done.stdout.splitlines())
    assert parent == parent_again
    assert len({parent, child, process_worker_uuid()}) == 3
    for made in (parent, child):
        assert (made.version, made.variant) == (7, uuid.RFC_4122)
        assert began <= made.int >> 80 <= ended
