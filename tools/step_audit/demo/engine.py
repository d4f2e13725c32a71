"""The demo's engine: it records a story, before step-audit is there and after."""

from __future__ import annotations

import json
import random
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from step_audit.database import Connection, call
from step_audit.demo.story import STEPS, Story
from step_audit.engine.context import TransitionContext
from step_audit.engine.processor import StepResultProcessor
from step_audit.engine.state_machine import StepStateMachine
from step_audit.engine.states import RULES

SCHEMA = "public"

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Task:
    """A task with its steps by name, in order."""

    task_uuid: uuid.UUID
    correlation_id: uuid.UUID
    steps: dict[str, uuid.UUID]


class Engine:
    """Runs tasks in the database of ``conn``; the story is the same every time."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        chance = random.Random(62)
        workers = tuple(uuid.UUID(int=chance.getrandbits(128), version=4) for _ in range(3))
        self._story = Story(chance, workers)

    def create_tables(self) -> None:
        """Create the engine's tables and what it calls."""
        for script in ("host.sql", "engine.sql"):
            self._conn.execute((_HERE / script).read_bytes())

    def play_past(self, tasks: int) -> None:
        """Record tasks of yesterday, as the engine did before it had an audit."""
        for number in range(tasks):
            task = self._create_task()
            now = datetime.now(UTC) - timedelta(days=1, minutes=-number)
            for act in self._story.tell(task.steps, declined=number % 3 == 0):
                now += timedelta(seconds=act.after)
                context = TransitionContext(
                    act.worker_uuid, task.correlation_id if act.worker_uuid else None
                )
                metadata = context.merge_into({"event": json.dumps(act.event.tagged())})
                call(
                    self._conn,
                    SCHEMA,
                    "demo_record_transition",
                    p_step_uuid=act.step_uuid,
                    p_to_state=str(RULES[act.event.type].target),
                    p_metadata=json.dumps(metadata),
                    p_created_at=now,
                )

    def play_live(self, tasks: int) -> Task:
        """Run tasks now, through the state machine and a processor per worker; gives the last."""
        machine = StepStateMachine(self._conn, SCHEMA)
        processors = {
            worker: StepResultProcessor(self._conn, worker, SCHEMA)
            for worker in self._story.workers
        }
        for number in reversed(range(tasks)):
            task = self._create_task()
            for act in self._story.tell(task.steps, declined=number % 3 == 0):
                time.sleep(act.after)
                if act.worker_uuid:
                    processors[act.worker_uuid].handle_send_step_result(act.event.data)
                else:
                    machine.transition(act.step_uuid, act.event)
        return task

    def rewrite_result(self, step_uuid: uuid.UUID) -> None:
        """Change the order number in the result of a step, while no trigger fires."""
        call(self._conn, SCHEMA, "demo_rewrite_result", p_step_uuid=step_uuid)

    def _create_task(self) -> Task:
        with self._conn.transaction():
            rows = call(self._conn, SCHEMA, "demo_create_task", p_step_names=list(STEPS))
        steps = {row["step_name"]: row["workflow_step_uuid"] for row in rows}
        return Task(rows[0]["task_uuid"], rows[0]["correlation_id"], steps)
