"""What the demo's engine does: orders are validated, charged and shipped; cards get declined."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

STEPS = ("validate_order", "charge_card", "ship_order")

_DECLINED = {"message": "card declined", "error_type": "CardDeclined", "retryable": True}


@dataclass(frozen=True)
class Transition:
    """One state change of a step, as the engine writes it."""

    step_uuid: uuid.UUID
    to_state: str
    metadata: dict[str, Any]
    at: datetime


@dataclass(frozen=True)
class Engine:
    """Plays tasks with a few workers; the same ``chance`` plays the same story."""

    chance: random.Random
    workers: tuple[uuid.UUID, ...]

    def play_task(
        self, steps: dict[str, uuid.UUID], correlation_id: uuid.UUID, start: datetime, declines: int
    ) -> Iterator[Transition]:
        """All transitions of one task: each step in turn, the card declined ``declines`` times.

        Args:
            steps: uuid of each step by name, in order.
            correlation_id: the task's.
            start: when the first step becomes pending.
            declines: how often ``charge_card`` fails before it succeeds.
        """
        now = start
        for name, step in steps.items():
            pending = {"initial_state": "pending", "from_service": "task_initializer"}
            yield Transition(step, "pending", pending, now)
            failures = declines if name == "charge_card" else 0
            for attempt in range(failures + 1):
                yield Transition(step, "enqueued", _event("Enqueue"), now)
                yield Transition(step, "in_progress", _event("Start"), now)
                now += timedelta(milliseconds=self.chance.randint(40, 400))
                attribution = {
                    "worker_uuid": str(self.chance.choice(self.workers)),
                    "correlation_id": str(correlation_id),
                }
                if attempt < failures:
                    event = _event(
                        "EnqueueAsErrorForOrchestration", _result(step, False, _DECLINED)
                    )
                    state = "enqueued_as_error_for_orchestration"
                    yield Transition(step, state, event | attribution, now)
                    yield Transition(step, "waiting_for_retry", _event("WaitForRetry"), now)
                    now += timedelta(seconds=2)
                    yield Transition(step, "pending", _event("Retry"), now)
                else:
                    value = {"order": self.chance.randint(1000, 9999), "step": name}
                    event = _event("EnqueueForOrchestration", _result(step, True, value))
                    yield Transition(step, "enqueued_for_orchestration", event | attribution, now)
                    yield Transition(step, "complete", _event("Complete"), now)


def _event(kind: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
    tagged = {"type": kind} if data is None else {"type": kind, "data": data}
    return {"event": json.dumps(tagged)}


def _result(step: uuid.UUID, success: bool, value: dict[str, Any]) -> dict[str, Any]:
    return {
        "step_uuid": str(step),
        "success": success,
        "status": "completed" if success else "retryable_error",
        "result": value if success else None,
        "error": None if success else value,
        # As the published worker leaves it: elapsed_ms is the duration to look at.
        "metadata": {"execution_time_ms": 0},
    }
