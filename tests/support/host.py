"""A host database: the engine's tables as the demo has them, and rows in them."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import psycopg

OK = "enqueued_for_orchestration"
FAILED = "enqueued_as_error_for_orchestration"
STATES = (
    "pending",
    "enqueued",
    "in_progress",
    OK,
    FAILED,
    "waiting_for_retry",
    "complete",
    "error",
    "cancelled",
    "resolved_manually",
)

_COLUMNS = (
    "workflow_step_transition_uuid, workflow_step_uuid, from_state, to_state, metadata, sort_key, "
    "most_recent"
)


@dataclass(frozen=True)
class Step:
    """A workflow step and its task."""

    step_uuid: uuid.UUID
    task_uuid: uuid.UUID
    name: str


@dataclass(frozen=True)
class Transition:
    """A row of the transitions table; ``metadata`` is JSON text, None for SQL's NULL."""

    step: Step
    to_state: str
    metadata: str | None
    sort_key: int
    from_state: str | None = None
    transition_uuid: uuid.UUID = field(default_factory=uuid.uuid4)

    @property
    def row(self) -> tuple[Any, ...]:
        return (
            self.transition_uuid,
            self.step.step_uuid,
            self.from_state,
            self.to_state,
            self.metadata,
            self.sort_key,
            False,
        )


def create_host(conn: psycopg.Connection[Any]) -> None:
    """Create the engine's tables."""
    conn.execute((resources.files("step_audit.demo") / "host.sql").read_bytes())


def create_steps(conn: psycopg.Connection[Any], count: int = 1, per_task: int = 2) -> list[Step]:
    """Insert steps, ``per_task`` of them in each task."""
    steps = []
    for number in range(count):
        if number % per_task == 0:
            task = uuid.uuid4()
            conn.execute("INSERT INTO tasker_tasks (task_uuid) VALUES (%s)", (task,))
        step = Step(uuid.uuid4(), task, f"step_{number % per_task}")
        conn.execute(
            "INSERT INTO tasker_named_steps (name) VALUES (%s) ON CONFLICT DO NOTHING", (step.name,)
        )
        conn.execute(
            "INSERT INTO tasker_workflow_steps SELECT %s, %s, named_step_uuid "
            "FROM tasker_named_steps WHERE name = %s",
            (step.step_uuid, step.task_uuid, step.name),
        )
        steps.append(step)
    return steps


def insert_each(conn: psycopg.Connection[Any], transitions: list[Transition]) -> None:
    """One INSERT per transition."""
    with conn.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO tasker_workflow_step_transitions ({_COLUMNS}) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s)",
            [transition.row for transition in transitions],
        )


def insert_together(conn: psycopg.Connection[Any], transitions: list[Transition]) -> None:
    """All transitions in one INSERT."""
    rows = [value for transition in transitions for value in transition.row]
    values = ", ".join(["(%s, %s, %s, %s, %s::jsonb, %s, %s)"] * len(transitions))
    conn.execute(
        f"INSERT INTO tasker_workflow_step_transitions ({_COLUMNS}) VALUES {values}".encode(), rows
    )


def insert_copy(conn: psycopg.Connection[Any], transitions: list[Transition]) -> None:
    """All transitions by COPY."""
    with (
        conn.cursor() as cursor,
        cursor.copy(f"COPY tasker_workflow_step_transitions ({_COLUMNS}) FROM STDIN") as copy,
    ):
        for transition in transitions:
            copy.write_row(transition.row)


def real_transitions() -> list[dict[str, Any]]:
    """The transitions that a real worker wrote: ``to_state``, ``from_state``, ``metadata``."""
    path = Path(__file__).parents[1] / "data" / "tasker_transitions.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
