"""The state machine: which event leads where, what it writes, and in whose transaction."""

from __future__ import annotations

import json
import uuid
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.pq import TransactionStatus

from step_audit.database import Connection
from step_audit.engine.context import TransitionContext
from step_audit.engine.state_machine import StepStateMachine, StepTransition
from step_audit.engine.states import RULES, EventType, StepEvent, StepState
from step_audit.errors import (
    ForbiddenTransitionError,
    InvalidResultError,
    NotInstalledError,
    StepError,
    StepNotFoundError,
)
from tests.support.audit import audit_rows
from tests.support.connect import connect_again
from tests.support.host import (
    HOST,
    OK,
    STATES,
    USAGE,
    classic_in,
    create_steps,
    drop_constraints,
    real_transitions,
)
from tests.support.install import install_audit
from tests.support.lifecycle import TABLE, chain, event_of, everything_written, put

WORKER, CORRELATION = uuid.uuid4(), uuid.uuid4()
START = StepEvent(EventType.START)
SUCCEED = StepEvent(EventType.ENQUEUE_FOR_ORCHESTRATION, {"success": True})


def test_a_context_cannot_be_changed() -> None:
    context = TransitionContext(WORKER)
    with pytest.raises(FrozenInstanceError):
        context.worker_uuid = CORRELATION  # type: ignore[misc]


def test_a_context_adds_only_what_is_set_and_touches_nothing_else() -> None:
    names = st.sampled_from(["worker_uuid", "correlation_id"]) | st.text()

    @given(
        st.dictionaries(names, st.integers() | st.text()),
        st.none() | st.uuids(allow_nil=True),
        st.none() | st.uuids(allow_nil=True),
    )
    def law(metadata: dict[str, Any], worker: uuid.UUID | None, task: uuid.UUID | None) -> None:
        before = dict(metadata)
        merged = TransitionContext(worker, task).merge_into(metadata)
        added = {"worker_uuid": worker, "correlation_id": task}
        assert metadata == before
        for name in metadata.keys() | merged.keys():
            value = added.get(name)
            assert merged[name] == (metadata[name] if value is None else str(value))

    law()


def test_the_rules_are_the_designs_table() -> None:
    assert {state.value for state in StepState} == set(STATES)
    rules = {
        event.value: ({s.value for s in rule.sources}, rule.target.value)
        for event, rule in RULES.items()
    }
    assert rules == TABLE


def test_exactly_the_tables_pairs_lead_anywhere_and_the_others_write_nothing(
    conn: Connection,
) -> None:
    machine = StepStateMachine(conn)
    pairs = [(event, state) for event in TABLE for state in STATES]
    assert len(pairs) == 120
    for (event, state), step in zip(pairs, create_steps(conn, len(pairs)), strict=True):
        put(conn, step, state)
        sources, target = TABLE[event]
        if state in sources:
            done = machine.transition(step.step_uuid, StepEvent(EventType(event)))
            before, written = chain(conn, step)
            assert (before.to_state, written.from_state, written.to_state) == (state, state, target)
            assert done == StepTransition(
                written.transition_uuid, StepState(state), StepState(target), 1
            )
            continue
        unchanged = everything_written(conn)
        with pytest.raises(ForbiddenTransitionError) as refused:
            machine.transition(step.step_uuid, StepEvent(EventType(event)))
        assert str(refused.value) == (
            f"step {step.step_uuid} is {state}, from where {event} is forbidden; "
            "nothing was written."
        )
        named = {"step_uuid": step.step_uuid, "state": state, "event": event}
        assert vars(refused.value) == named
        assert everything_written(conn) == unchanged


def test_a_step_without_transitions_is_pending(conn: Connection) -> None:
    (step,) = create_steps(conn)
    machine = StepStateMachine(conn)
    assert machine.state(step.step_uuid) is StepState.PENDING
    done = machine.transition(step.step_uuid, StepEvent(EventType.ENQUEUE))
    assert (done.from_state, done.to_state, done.sort_key) == ("pending", "enqueued", 0)
    assert [row.from_state for row in chain(conn, step)] == ["pending"]
    assert machine.state(step.step_uuid) is StepState.ENQUEUED


def test_an_unknown_step_is_not_found(conn: Connection) -> None:
    unknown = uuid.uuid4()
    machine = StepStateMachine(conn)
    message = f"step {unknown} does not exist; nothing was written."
    for ask in (
        lambda: machine.transition(unknown, START),
        lambda: machine.state(unknown),
        lambda: machine.correlation_id(unknown),
    ):
        with pytest.raises(StepNotFoundError) as error:
            ask()
        assert str(error.value) == message
        assert error.value.step_uuid == unknown
    assert everything_written(conn) == []


def test_a_state_that_is_none_of_the_ten_is_named_and_leads_nowhere(conn: Connection) -> None:
    (step,) = create_steps(conn)
    drop_constraints(conn, "c")
    put(conn, step, "on 100% hold")
    unchanged = everything_written(conn)
    machine = StepStateMachine(conn)
    for event in EventType:
        with pytest.raises(ForbiddenTransitionError) as error:
            machine.transition(step.step_uuid, StepEvent(event))
        assert str(error.value) == (
            f"step {step.step_uuid} is on 100% hold, from where {event.value} is forbidden; "
            "nothing was written."
        )
    with pytest.raises(StepError, match=r"is on 100% hold, which is no state that we know\.$"):
        machine.state(step.step_uuid)
    assert everything_written(conn) == unchanged


def test_transition_writes_no_attribution(conn: Connection) -> None:
    (step,) = create_steps(conn)
    put(conn, step, "in_progress")
    StepStateMachine(conn).transition(step.step_uuid, SUCCEED)
    assert chain(conn, step)[-1].metadata.keys() == {"event", "timestamp"}
    (audit,) = audit_rows(conn).values()
    assert (audit.worker_uuid, audit.correlation_id) == (None, None)
    assert (audit.success, audit.anomalies) == (True, {})


@pytest.mark.parametrize("worker", [WORKER, None])
@pytest.mark.parametrize("correlation", [CORRELATION, None])
def test_transition_with_context_writes_what_is_set_and_the_audit_has_it(
    conn: Connection, worker: uuid.UUID | None, correlation: uuid.UUID | None
) -> None:
    (step,) = create_steps(conn)
    put(conn, step, "in_progress")
    context = TransitionContext(worker, correlation)
    done = StepStateMachine(conn).transition_with_context(step.step_uuid, SUCCEED, context)
    metadata = chain(conn, step)[-1].metadata
    attribution = {"worker_uuid": worker, "correlation_id": correlation}
    kept = {name: str(value) for name, value in attribution.items() if value is not None}
    assert metadata == {name: metadata[name] for name in ("event", "timestamp")} | kept
    audit = audit_rows(conn)[done.transition_uuid]
    assert (audit.worker_uuid, audit.correlation_id) == (worker, correlation)
    assert (audit.step_uuid, audit.task_uuid) == (step.step_uuid, step.task_uuid)


def test_events_are_written_as_the_real_engine_writes_them(conn: Connection) -> None:
    recorded = real_transitions()
    assert len(recorded) > 1
    machine = StepStateMachine(conn)
    for real, step in zip(recorded, create_steps(conn, len(recorded)), strict=True):
        put(conn, step, real["from_state"])
        metadata = real["metadata"]
        event = json.loads(metadata["event"])
        context = TransitionContext(
            *(
                uuid.UUID(metadata[name]) if name in metadata else None
                for name in ("worker_uuid", "correlation_id")
            )
        )
        machine.transition_with_context(
            step.step_uuid, StepEvent(EventType(event["type"]), event.get("data")), context
        )
        written = chain(conn, step)[-1]
        assert written.to_state == real["to_state"]
        assert written.metadata.keys() == metadata.keys()
        for name in metadata.keys() - {"timestamp"}:
            assert written.metadata[name] == metadata[name]
        written_at = datetime.fromisoformat(written.metadata["timestamp"])
        assert abs(datetime.now(UTC) - written_at) < timedelta(minutes=5)


def test_an_event_carries_whatever_data_it_is_given_and_none_is_none(conn: Connection) -> None:
    (step,) = create_steps(conn)
    machine = StepStateMachine(conn)
    some: list[Any] = ["card declined", "", 0, False, [], {}]
    for data in some:
        machine.transition(step.step_uuid, StepEvent(EventType.FAIL, data))
        assert event_of(chain(conn, step)[-1]) == [("type", "Fail"), ("data", data)]
        machine.transition(step.step_uuid, StepEvent(EventType.RETRY))
        assert event_of(chain(conn, step)[-1]) == [("type", "Retry")]


def test_data_that_is_no_json_is_refused_and_nothing_is_written(conn: Connection) -> None:
    (step,) = create_steps(conn)
    with pytest.raises(InvalidResultError) as error:
        StepStateMachine(conn).transition(step.step_uuid, StepEvent(EventType.FAIL, {"x": {1}}))
    assert str(error.value) == (
        "the data of Fail cannot be written as JSON: Object of type set is not JSON serializable; "
        "nothing was written."
    )
    assert everything_written(conn) == []


def test_what_was_written_goes_with_the_callers_transaction(conn: Connection) -> None:
    (step,) = create_steps(conn)
    machine = StepStateMachine(conn)
    with conn.transaction(force_rollback=True):
        machine.transition(step.step_uuid, START)
        machine.transition(step.step_uuid, SUCCEED)
        assert machine.state(step.step_uuid) == OK
        assert len(chain(conn, step)) == 2
    assert machine.state(step.step_uuid) == "pending"
    assert everything_written(conn) == []


def test_a_refused_event_leaves_the_callers_transaction_and_its_other_work_intact(
    conn: Connection,
) -> None:
    step, other = create_steps(conn, 2)
    machine = StepStateMachine(conn)
    with conn.transaction():
        machine.transition(step.step_uuid, START)
        with pytest.raises(ForbiddenTransitionError):
            machine.transition(step.step_uuid, START)
        with pytest.raises(StepNotFoundError):
            machine.transition(uuid.uuid4(), START)
        with pytest.raises(InvalidResultError):
            machine.transition(step.step_uuid, StepEvent(EventType.FAIL, {1}))
        machine.transition(other.step_uuid, START)
        machine.transition(step.step_uuid, SUCCEED)
    assert [row.to_state for row in chain(conn, step)] == ["in_progress", OK]
    assert [row.to_state for row in chain(conn, other)] == ["in_progress"]
    assert len(audit_rows(conn)) == 1


def test_without_autocommit_each_event_is_still_a_transaction_of_its_own(conn: Connection) -> None:
    (step,) = create_steps(conn)
    with psycopg.connect(conn.info.dsn) as client:
        machine = StepStateMachine(client)
        for act in (
            lambda: machine.transition(step.step_uuid, START),
            lambda: machine.state(step.step_uuid),
            lambda: machine.correlation_id(step.step_uuid),
            lambda: machine.transition(step.step_uuid, SUCCEED),
        ):
            act()
            assert client.info.transaction_status == TransactionStatus.IDLE
        with pytest.raises(ForbiddenTransitionError):
            machine.transition(step.step_uuid, START)
        assert client.info.transaction_status == TransactionStatus.IDLE
        assert [row.to_state for row in chain(conn, step)] == ["in_progress", OK]


def test_without_autocommit_a_transaction_that_is_open_is_joined(conn: Connection) -> None:
    (step,) = create_steps(conn)
    with psycopg.connect(conn.info.dsn) as client:
        client.execute("SELECT")
        StepStateMachine(client).transition(step.step_uuid, START)
        assert everything_written(conn) == []
        client.rollback()
    assert everything_written(conn) == []


def test_an_engines_role_in_another_time_zone_needs_no_right_on_the_audit(conn: Connection) -> None:
    step, other = create_steps(conn, 2)
    conn.execute("DROP ROLE IF EXISTS driver")
    conn.execute("CREATE ROLE driver")
    conn.execute(f"GRANT {USAGE} TO driver".encode())
    conn.execute(
        "GRANT SELECT, INSERT, UPDATE ON tasker_workflow_steps, tasker_workflow_step_transitions, "
        f"tasker_tasks, {', '.join(HOST.tables)} TO driver".encode()
    )
    conn.execute("SET TimeZone = 'America/New_York'")
    conn.execute("SET ROLE driver")
    machine = StepStateMachine(conn)
    for moved in (step, other):
        machine.transition(moved.step_uuid, START)
        machine.transition_with_context(moved.step_uuid, SUCCEED, TransitionContext(WORKER))
    conn.execute("RESET ROLE")
    conn.execute("DROP OWNED BY driver")
    conn.execute("DROP ROLE driver")
    audits = audit_rows(conn)
    assert {audit.worker_uuid for audit in audits.values()} == {WORKER}
    assert all(audit.recorded_with_transition for audit in audits.values())
    late = conn.execute(
        "SELECT count(*) AS n FROM tasker_workflow_step_transitions "
        "WHERE (now() AT TIME ZONE 'UTC') - created_at NOT BETWEEN '0' AND '5 minutes' "
        "OR (now() AT TIME ZONE 'UTC') - updated_at NOT BETWEEN '0' AND '5 minutes'"
    ).fetchone()
    assert (len(audits), late) == (2, {"n": 0})


def test_it_works_in_any_schema_under_any_search_path(host: Connection) -> None:
    engine = classic_in("Eng ine")
    engine.create(host)
    install_audit(host, host=engine)
    (step,) = create_steps(host, host=engine)
    with connect_again(host) as client:
        client.execute("SET search_path = ''")
        with pytest.raises(NotInstalledError, match="not installed in schema nowhere"):
            StepStateMachine(client, "nowhere").transition(step.step_uuid, START)
        StepStateMachine(client, "Eng ine").transition(step.step_uuid, START)
        machine = StepStateMachine(client)
        machine.transition(step.step_uuid, SUCCEED)
        assert machine.state(step.step_uuid) == OK
    assert [row.to_state for row in chain(host, step, engine)] == ["in_progress", OK]
    assert len(audit_rows(host, engine)) == 1
