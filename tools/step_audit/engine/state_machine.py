"""Moving a step through its states, one database transaction per event."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg

from step_audit.database import call
from step_audit.engine.context import TransitionContext
from step_audit.engine.states import RULES, StepEvent, StepState
from step_audit.errors import (
    ForbiddenTransitionError,
    InvalidResultError,
    LostRaceError,
    StepError,
    StepNotFoundError,
)


@dataclass(frozen=True, slots=True)
class StepTransition:
    """A transition that was written."""

    transition_uuid: UUID
    from_state: StepState
    to_state: StepState
    sort_key: int


class StepStateMachine:
    """Applies events to steps through one connection.

    Inside a transaction of the caller it writes as part of it, behind a savepoint; otherwise each
    event is a transaction of its own.

    Args:
        conn: a connection with the rights of the engine.
        schema: where step-audit is installed; found where it is None.
    """

    def __init__(self, conn: psycopg.Connection[Any], schema: str | None = None) -> None:
        self._conn = conn
        self._schema = schema

    def transition(self, step_uuid: UUID, event: StepEvent) -> StepTransition:
        """Apply ``event`` without attribution; see :meth:`transition_with_context`."""
        return self.transition_with_context(step_uuid, event, TransitionContext())

    def transition_with_context(
        self, step_uuid: UUID, event: StepEvent, context: TransitionContext
    ) -> StepTransition:
        """Apply ``event`` to a step, attributed to what ``context`` names.

        Raises:
            StepNotFoundError: there is no such step.
            ForbiddenTransitionError: the event leads nowhere from the step's state.
            LostRaceError: another transaction moved the step in between.
            InvalidResultError: the event's data cannot be written as JSON.
        """
        rule = RULES[event.type]
        metadata = json.dumps(context.merge_into(self._metadata(event)))
        try:
            with self._conn.transaction():
                rows = call(
                    self._conn,
                    self._schema,
                    "transition_workflow_step",
                    p_step_uuid=step_uuid,
                    p_from_states=sorted(rule.sources),
                    p_to_state=str(rule.target),
                    p_metadata=metadata,
                )
        except (
            psycopg.errors.UniqueViolation,
            psycopg.errors.SerializationFailure,
            psycopg.errors.DeadlockDetected,
        ) as error:
            raise LostRaceError(step_uuid, self._state_after_race(step_uuid), event.type) from error
        if not rows:
            raise StepNotFoundError(step_uuid)
        (row,) = rows
        if row["transition_uuid"] is None:
            raise ForbiddenTransitionError(step_uuid, row["from_state"], event.type)
        return StepTransition(
            row["transition_uuid"], StepState(row["from_state"]), rule.target, row["sort_key"]
        )

    def state(self, step_uuid: UUID) -> StepState:
        """The state that a step is in.

        Raises:
            StepNotFoundError: there is no such step.
            StepError: its state is none of the ten.
        """
        state: str = self._step(step_uuid)["state"]
        if state not in set(StepState):
            raise StepError(f"step {step_uuid} is {state}, which is no state that we know.")
        return StepState(state)

    def correlation_id(self, step_uuid: UUID) -> UUID:
        """The correlation id of a step's task.

        Raises:
            StepNotFoundError: there is no such step.
        """
        found: UUID = self._step(step_uuid)["correlation_id"]
        return found

    def _state_after_race(self, step_uuid: UUID) -> str:
        try:
            return str(self._step(step_uuid)["state"])
        except psycopg.errors.SerializationFailure:  # the caller's transaction is doomed
            return "unknown"

    def _step(self, step_uuid: UUID) -> dict[str, Any]:
        # Without it, reading would open a transaction where the connection is not in autocommit.
        with self._conn.transaction():
            rows = call(self._conn, self._schema, "get_workflow_step", p_step_uuid=step_uuid)
        if not rows:
            raise StepNotFoundError(step_uuid)
        return rows[0]

    def _metadata(self, event: StepEvent) -> dict[str, Any]:
        # As the engine writes it, unless the server's encoding lacks some characters.
        escaped = self._conn.info.parameter_status("server_encoding") != "UTF8"
        try:
            text = json.dumps(
                event.tagged(), allow_nan=False, ensure_ascii=escaped, separators=(",", ":")
            )
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidResultError(
                f"the data of {event.type} cannot be written as JSON: {error}; nothing was written."
            ) from error
        # What UTF-8 lacks is lone surrogates, and their replacement is their escape in JSON.
        text = text.encode(errors="backslashreplace").decode()
        return {"event": text, "timestamp": datetime.now(UTC).isoformat()}
