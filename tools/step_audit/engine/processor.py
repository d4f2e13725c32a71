"""What a worker calls when a step handler has returned."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Mapping
from reprlib import repr as shortened
from typing import Any
from uuid import UUID

import psycopg

from step_audit.engine.context import TransitionContext
from step_audit.engine.state_machine import StepStateMachine, StepTransition
from step_audit.engine.states import EventType, StepEvent
from step_audit.errors import InvalidResultError

_process: dict[str, UUID] = {}
os.register_at_fork(after_in_child=_process.clear)


def process_worker_uuid() -> UUID:
    """The UUIDv7 (RFC 9562) of this process as a worker: new at each start, and after a fork."""
    # setdefault is atomic: threads that come first at the same time get the same one.
    return _process.setdefault("worker_uuid", _generate_uuid7())


def _generate_uuid7() -> UUID:
    milliseconds = time.time_ns() // 1_000_000
    return UUID(
        int=milliseconds << 80
        | 0x7 << 76
        | secrets.randbits(12) << 64
        | 0b10 << 62
        | secrets.randbits(62)
    )


# Called with a result that was recorded, in its transaction: the connection, the transition, the
# result.
OnRecorded = Callable[[psycopg.Connection[Any], StepTransition, Mapping[str, Any]], None]


class StepResultProcessor:
    """Records the results of one worker, attributed to it.

    It writes what the engine's own worker writes in the database: the transition, and in the step
    ``results``, from which dependent steps take their input, and ``in_process``, where the engine's
    table has these columns. (``attempts`` is counted when the step starts, by
    :class:`StepStateMachine`.) A result that the column's type cannot hold, with U+0000 for
    instance, stands in the transition alone, and ``results`` is NULL.

    It sends no message: an orchestrator that is told of results, as Tasker's is by its queue
    ``orchestration_step_results``, goes on only when ``on_recorded`` has told it. Such an
    orchestrator may also want more in a result than this does: Tasker's wants ``metadata`` and
    ``status``.

    Args:
        conn: a connection with the rights of the engine.
        worker_uuid: the worker; by default this process.
        schema: where step-audit is installed; found where it is None.
        on_recorded: called after each result, before its transaction ends, with the connection, the
            transition and the result. What it writes through the connection is committed with the
            result, and where it raises, neither is.
    """

    def __init__(
        self,
        conn: psycopg.Connection[Any],
        worker_uuid: UUID | None = None,
        schema: str | None = None,
        on_recorded: OnRecorded | None = None,
    ) -> None:
        self._conn = conn
        self._on_recorded = on_recorded
        self._machine = StepStateMachine(conn, schema)
        self.worker_uuid = worker_uuid or process_worker_uuid()

    def handle_send_step_result(self, result: Mapping[str, Any]) -> StepTransition:
        """Record a StepExecutionResult: the event is picked by its ``success``.

        Args:
            result: with ``step_uuid`` (UUID or text of one) and ``success`` (bool); whatever else
                it holds is kept, as JSON.

        Raises:
            InvalidResultError: ``step_uuid`` or ``success`` is missing or of another type, or a
                value cannot be written as JSON.
            StepNotFoundError: there is no such step.
            ForbiddenTransitionError: the step is not in progress, for instance finished.
            LostRaceError: another transaction moved the step in between.
        """
        step_uuid = _step_uuid(result)
        success = result.get("success")
        if not isinstance(success, bool):
            raise InvalidResultError(
                f"success of the result of step {step_uuid} is {shortened(success)}, "
                "neither True nor False; nothing was written."
            )
        event = (
            EventType.ENQUEUE_FOR_ORCHESTRATION
            if success
            else EventType.ENQUEUE_AS_ERROR_FOR_ORCHESTRATION
        )
        context = TransitionContext(self.worker_uuid, self._machine.correlation_id(step_uuid))
        data = {**result, "step_uuid": str(step_uuid)}
        reported = StepEvent(event, data)
        if self._on_recorded is None:
            return self._machine.transition_with_context(step_uuid, reported, context)
        with self._conn.transaction():
            done = self._machine.transition_with_context(step_uuid, reported, context)
            self._on_recorded(self._conn, done, result)
        return done


def _step_uuid(result: Mapping[str, Any]) -> UUID:
    value = result.get("step_uuid")
    try:
        return value if isinstance(value, UUID) else UUID(value)
    except (AttributeError, TypeError, ValueError) as error:
        raise InvalidResultError(
            f"step_uuid of the result is {shortened(value)}, which is no UUID; nothing was written."
        ) from error
