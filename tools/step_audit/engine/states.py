"""The life of a workflow step: its states, its events, and which event leads where."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class StepState(StrEnum):
    """The ten states of a step."""

    PENDING = "pending"
    ENQUEUED = "enqueued"
    IN_PROGRESS = "in_progress"
    ENQUEUED_FOR_ORCHESTRATION = "enqueued_for_orchestration"
    ENQUEUED_AS_ERROR_FOR_ORCHESTRATION = "enqueued_as_error_for_orchestration"
    WAITING_FOR_RETRY = "waiting_for_retry"
    COMPLETE = "complete"
    ERROR = "error"
    CANCELLED = "cancelled"
    RESOLVED_MANUALLY = "resolved_manually"


class EventType(StrEnum):
    """The twelve events, named as the engine writes them."""

    ENQUEUE = "Enqueue"
    START = "Start"
    ENQUEUE_FOR_ORCHESTRATION = "EnqueueForOrchestration"
    ENQUEUE_AS_ERROR_FOR_ORCHESTRATION = "EnqueueAsErrorForOrchestration"
    COMPLETE = "Complete"
    FAIL = "Fail"
    WAIT_FOR_RETRY = "WaitForRetry"
    RETRY = "Retry"
    RESET_FOR_RETRY = "ResetForRetry"
    CANCEL = "Cancel"
    COMPLETE_MANUALLY = "CompleteManually"
    RESOLVE_MANUALLY = "ResolveManually"


@dataclass(frozen=True, slots=True)
class StepEvent:
    """An event with what it carries: a result, a message, or nothing (None)."""

    type: EventType
    data: Any = None

    def tagged(self) -> dict[str, Any]:
        """The engine's form: the type, and the data only where there is any."""
        tag = {"type": self.type.value}
        return tag if self.data is None else {**tag, "data": self.data}


@dataclass(frozen=True, slots=True)
class Rule:
    """An event leads from any of these states to that one."""

    sources: frozenset[StepState]
    target: StepState


_S, _E = StepState, EventType
_WORKED = {_S.ENQUEUED_FOR_ORCHESTRATION, _S.ENQUEUED_AS_ERROR_FOR_ORCHESTRATION}
_FINAL = {_S.COMPLETE, _S.CANCELLED, _S.RESOLVED_MANUALLY}

RULES: dict[EventType, Rule] = {
    event: Rule(frozenset(sources), target)
    for event, sources, target in (
        (_E.ENQUEUE, {_S.PENDING}, _S.ENQUEUED),
        (_E.START, {_S.ENQUEUED, _S.PENDING}, _S.IN_PROGRESS),
        (_E.ENQUEUE_FOR_ORCHESTRATION, {_S.IN_PROGRESS}, _S.ENQUEUED_FOR_ORCHESTRATION),
        (
            _E.ENQUEUE_AS_ERROR_FOR_ORCHESTRATION,
            {_S.IN_PROGRESS},
            _S.ENQUEUED_AS_ERROR_FOR_ORCHESTRATION,
        ),
        (_E.COMPLETE, _WORKED | {_S.IN_PROGRESS}, _S.COMPLETE),
        (_E.FAIL, _WORKED | {_S.IN_PROGRESS, _S.PENDING, _S.ENQUEUED}, _S.ERROR),
        (
            _E.WAIT_FOR_RETRY,
            {_S.IN_PROGRESS, _S.ENQUEUED, _S.PENDING, _S.ENQUEUED_AS_ERROR_FOR_ORCHESTRATION},
            _S.WAITING_FOR_RETRY,
        ),
        (_E.RETRY, {_S.ERROR, _S.WAITING_FOR_RETRY}, _S.PENDING),
        (_E.RESET_FOR_RETRY, {_S.ERROR}, _S.PENDING),
        (_E.CANCEL, set(_S) - _FINAL, _S.CANCELLED),
        (_E.COMPLETE_MANUALLY, set(_S), _S.COMPLETE),
        (_E.RESOLVE_MANUALLY, set(_S), _S.RESOLVED_MANUALLY),
    )
}
