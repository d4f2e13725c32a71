"""Law: whatever events come, steps move as the design's table says, and each result is audited."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from step_audit.database import Connection
from step_audit.engine.context import TransitionContext
from step_audit.engine.processor import StepResultProcessor
from step_audit.engine.state_machine import StepStateMachine, StepTransition
from step_audit.engine.states import EventType, StepEvent
from step_audit.errors import ForbiddenTransitionError, StepNotFoundError
from step_audit.trust import reading as oracle
from tests.support.audit import AuditRow, audit_rows
from tests.support.host import FAILED, OK, Step, create_steps
from tests.support.lifecycle import RESULTS, TABLE, VALUES, chain, correlation_id

STEPS = 3
# Most events of a random walk would be forbidden if the last states were as likely as the others.
EVENTS = st.sampled_from([*TABLE, *["Start", "Retry", "EnqueueForOrchestration"] * 3])
CONTEXTS = st.builds(TransitionContext, st.none() | st.uuids(), st.none() | st.uuids())


@dataclass(frozen=True)
class Expected:
    """A transition as the model has it."""

    transition_uuid: UUID
    from_state: str
    to_state: str
    event: dict[str, Any]
    context: TransitionContext


@dataclass
class Life:
    """A step as the model has it."""

    step: Step
    correlation_id: UUID
    transitions: list[Expected] = field(default_factory=list)

    @property
    def state(self) -> str:
        return self.transitions[-1].to_state if self.transitions else "pending"


class Lifecycle(RuleBasedStateMachine):
    """Several steps, driven through one connection, and what must be stored of them."""

    conn: Connection

    def __init__(self) -> None:
        super().__init__()
        self.run = self.conn.transaction(force_rollback=True)
        self.run.__enter__()
        self.machine = StepStateMachine(self.conn)
        self.lives = [
            Life(step, correlation_id(self.conn, step)) for step in create_steps(self.conn, STEPS)
        ]

    def teardown(self) -> None:
        self.run.__exit__(None, None, None)

    steps = st.integers(0, STEPS - 1)

    @rule(number=steps, event=EVENTS, context=CONTEXTS, data=VALUES | RESULTS)
    def an_event_comes(
        self, number: int, event: str, context: TransitionContext, data: Any
    ) -> None:
        self.apply(self.lives[number], event, context, data)

    @rule(number=steps, worker=st.uuids(), result=RESULTS)
    def a_worker_reports(self, number: int, worker: UUID, result: dict[str, Any]) -> None:
        life = self.lives[number]
        event = "EnqueueForOrchestration" if result["success"] else "EnqueueAsErrorForOrchestration"
        result = result | {"step_uuid": str(life.step.step_uuid)}
        processor = StepResultProcessor(self.conn, worker)
        if life.state == "in_progress":
            done = processor.handle_send_step_result(result)
            self.note(life, done, event, TransitionContext(worker, life.correlation_id), result)
        else:
            with pytest.raises(ForbiddenTransitionError):
                processor.handle_send_step_result(result)

    @rule(number=steps, walk=st.lists(EVENTS, min_size=1, max_size=4), context=CONTEXTS)
    def a_caller_rolls_back(self, number: int, walk: list[str], context: TransitionContext) -> None:
        life = self.lives[number]
        before = list(life.transitions)
        with self.conn.transaction(force_rollback=True):
            for event in walk:
                self.apply(life, event, context, None)
            self.each_step_is_stored_as_expected()
        life.transitions = before

    @rule(event=EVENTS)
    def an_unknown_step_is_addressed(self, event: str) -> None:
        with pytest.raises(StepNotFoundError):
            self.machine.transition(uuid4(), StepEvent(EventType(event)))

    def apply(self, life: Life, event: str, context: TransitionContext, data: Any) -> None:
        sources, target = TABLE[event]
        step_uuid, sent = life.step.step_uuid, StepEvent(EventType(event), data)
        if life.state in sources:
            done = self.machine.transition_with_context(step_uuid, sent, context)
            self.note(life, done, event, context, data)
            assert life.state == target
        else:
            with pytest.raises(ForbiddenTransitionError) as error:
                self.machine.transition_with_context(step_uuid, sent, context)
            named = {"step_uuid": step_uuid, "state": life.state, "event": event}
            assert vars(error.value) == named

    def note(
        self, life: Life, done: StepTransition, event: str, context: TransitionContext, data: Any
    ) -> None:
        assert (done.from_state, done.sort_key) == (life.state, len(life.transitions))
        tagged = {"type": event} if data is None else {"type": event, "data": data}
        life.transitions.append(
            Expected(done.transition_uuid, life.state, TABLE[event][1], tagged, context)
        )

    @invariant()
    def each_step_is_stored_as_expected(self) -> None:
        for life in self.lives:
            stored = chain(self.conn, life.step)
            assert len(stored) == len(life.transitions)
            for row, expected in zip(stored, life.transitions, strict=True):
                assert row.transition_uuid == expected.transition_uuid
                assert (row.from_state, row.to_state) == (expected.from_state, expected.to_state)
                # Through JSON: two surrogates that make a character come back as it.
                event = json.loads(json.dumps(expected.event))
                assert json.loads(row.metadata.pop("event")) == event
                assert row.metadata.pop("timestamp")
                assert row.metadata == attribution(expected.context)
            assert self.machine.state(life.step.step_uuid) == life.state

    @invariant()
    def each_result_is_audited_with_its_attribution(self) -> None:
        mine = {life.step.step_uuid for life in self.lives}
        audited = {key: row for key, row in audit_rows(self.conn).items() if row.step_uuid in mine}
        assert audited == {
            expected.transition_uuid: audit_row(life.step, expected)
            for life in self.lives
            for expected in life.transitions
            if expected.to_state in (OK, FAILED)
        }


def attribution(context: TransitionContext) -> dict[str, str]:
    """What a transition's metadata holds beside the event."""
    named = {"worker_uuid": context.worker_uuid, "correlation_id": context.correlation_id}
    return {name: str(value) for name, value in named.items() if value is not None}


def audit_row(step: Step, expected: Expected) -> AuditRow:
    """The audit row of a result."""
    metadata = {"event": json.dumps(expected.event)}
    reading = oracle.read(expected.to_state, json.dumps(metadata))
    return AuditRow(
        transition_uuid=expected.transition_uuid,
        step_uuid=step.step_uuid,
        task_uuid=step.task_uuid,
        worker_uuid=expected.context.worker_uuid,
        correlation_id=expected.context.correlation_id,
        success=reading.success,
        execution_time_ms=reading.execution_time_ms,
        backfilled=False,
        recorded_with_transition=True,
        anomalies=reading.anomalies,
    )


def test_steps_move_as_the_table_says_and_each_result_is_audited(conn: Connection) -> None:
    bound = type("BoundLifecycle", (Lifecycle,), {"conn": conn})
    run_state_machine_as_test(bound, settings=settings(max_examples=40, stateful_step_count=25))
