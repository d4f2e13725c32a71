"""What the demo's engine does: orders are validated, charged and shipped; cards get declined."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from step_audit.engine.states import EventType, StepEvent

STEPS = ("validate_order", "charge_card", "ship_order")

_DECLINED = {"message": "card declined", "error_type": "CardDeclined", "retryable": True}


@dataclass(frozen=True)
class Act:
    """One event of a step, ``after`` seconds; by a worker where it is the worker's result."""

    step_uuid: uuid.UUID
    event: StepEvent
    after: float = 0
    worker_uuid: uuid.UUID | None = None


@dataclass(frozen=True)
class Story:
    """Tells what happens to tasks, with a few workers; the same ``chance`` tells the same."""

    chance: random.Random
    workers: tuple[uuid.UUID, ...]

    def tell(self, steps: dict[str, uuid.UUID], declined: bool) -> Iterator[Act]:
        """All acts of one task: each of its steps in turn, the card ``declined`` once or not."""
        for name, step in steps.items():
            if declined and name == "charge_card":
                yield from self._attempt(step, success=False, value=_DECLINED)
                yield Act(step, StepEvent(EventType.WAIT_FOR_RETRY, "card declined"))
                yield Act(step, StepEvent(EventType.RETRY), after=0.1)
            value = {"order": self.chance.randint(1000, 9999), "step": name}
            yield from self._attempt(step, success=True, value=value)
            yield Act(step, StepEvent(EventType.COMPLETE))

    def _attempt(self, step: uuid.UUID, success: bool, value: dict[str, Any]) -> Iterator[Act]:
        yield Act(step, StepEvent(EventType.ENQUEUE))
        yield Act(step, StepEvent(EventType.START))
        result = {
            "step_uuid": str(step),
            "success": success,
            "status": "completed" if success else "retryable_error",
            "result": value if success else None,
            "error": None if success else value,
            # As the published worker leaves it: elapsed_ms is the duration to look at.
            "metadata": {"execution_time_ms": 0},
        }
        event = (
            EventType.ENQUEUE_FOR_ORCHESTRATION
            if success
            else EventType.ENQUEUE_AS_ERROR_FOR_ORCHESTRATION
        )
        worked = self.chance.randint(10, 60) / 1000
        yield Act(step, StepEvent(event, result), worked, self.chance.choice(self.workers))
