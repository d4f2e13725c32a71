"""The engine's tables, in the layout under test, and rows in them.

``STEP_AUDIT_TEST_LAYOUT`` chooses: ``classic`` tables, as the demo has them, with step-audit beside
them; or today's ``tasker``, where step-audit stands in a schema of its own.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

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


@dataclass(frozen=True)
class Host:
    """An engine: where its tables lie and how they are called, and where step-audit stands.

    ``ddl`` creates its tables. ``trigger`` is step-audit's on the transitions. ``has_own_audit``:
    the engine audits too. ``metadata`` is the column that it writes metadata to. Tables are given
    as SQL has them, with their schema. Rows can be written by the names that step-audit reads,
    once it is installed; what is done to a table itself needs the table's name.
    """

    schema: str
    audit_schema: str
    prefix: str
    ddl: str
    trigger: str
    has_own_audit: bool
    metadata: str = "metadata"

    @property
    def schemas(self) -> tuple[str, ...]:
        """The schemas of step-audit and engine, as SQL has them."""
        return tuple(dict.fromkeys([_quoted(self.audit_schema), _quoted(self.schema)]))

    @property
    def options(self) -> str:
        """Start-up option of a session that finds all of it."""
        path = ",".join(dict.fromkeys([*self.schemas, "public"]))
        return "-csearch_path=" + path.replace(" ", "\\ ")

    def relation(self, name: str) -> str:
        """The engine's own name of a table that step-audit reads as ``tasker_…``."""
        return self.prefix + name.removeprefix("tasker_")

    def table(self, name: str) -> str:
        """The table that step-audit reads as ``tasker_…``."""
        return f"{_quoted(self.schema)}.{self.relation(name)}"

    @property
    def tasks(self) -> str:
        return self.table("tasker_tasks")

    @property
    def named_steps(self) -> str:
        return self.table("tasker_named_steps")

    @property
    def steps(self) -> str:
        return self.table("tasker_workflow_steps")

    @property
    def transitions(self) -> str:
        return self.table("tasker_workflow_step_transitions")

    @property
    def our_triggers(self) -> set[tuple[str, str]]:
        """The triggers that an attach puts on the engine's tables: trigger and table."""
        transitions, steps = "tasker_workflow_step_transitions", "tasker_workflow_steps"
        return {
            (self.trigger, self.relation(transitions)),
            ("trg_step_audit_change", self.relation(transitions)),
            ("trg_step_audit_truncate", self.relation(transitions)),
            ("trg_step_audit_deleted", self.relation(steps)),
            ("trg_step_audit_truncate", self.relation(steps)),
        }

    @property
    def own_audit(self) -> tuple[str, ...]:
        """The table of the engine's own audit, if it has one."""
        return (self.table("workflow_step_result_audit"),) if self.has_own_audit else ()

    @property
    def tables(self) -> tuple[str, ...]:
        """All tables of the engine."""
        return (self.tasks, self.named_steps, self.steps, self.transitions, *self.own_audit)

    def create(self, conn: psycopg.Connection[Any]) -> None:
        """Create the engine's tables, and their schema where it is missing."""
        schema = sql.Identifier(self.schema)
        with conn.transaction():
            conn.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
            conn.execute(sql.SQL("SET LOCAL search_path = {}").format(schema))
            conn.execute(self.ddl.encode())

    @property
    def columns(self) -> str:
        """The columns of the transitions that :attr:`Transition.row` has values for."""
        return (
            "workflow_step_transition_uuid, workflow_step_uuid, from_state, to_state, "
            f"{self.metadata}, sort_key, most_recent"
        )


def _quoted(name: str) -> str:
    return (
        name
        if name.isascii() and name.isidentifier() and name.islower()
        else (sql.Identifier(name).as_string())
    )


def classic_in(schema: str) -> Host:
    """An engine of the classic layout whose tables lie in ``schema``, and step-audit with them."""
    ddl = (resources.files("step_audit.demo") / "host.sql").read_text(encoding="utf-8")
    return Host(schema, schema, "tasker_", ddl, "trg_step_result_audit", has_own_audit=False)


LAYOUTS = {
    "classic": classic_in("public"),
    "tasker": Host(
        "tasker",
        "step_audit",
        "",
        (resources.files("tests.support") / "tasker.sql").read_text(encoding="utf-8"),
        "trg_step_audit",
        has_own_audit=True,
    ),
}
HOST = LAYOUTS[os.environ.get("STEP_AUDIT_TEST_LAYOUT", "classic")]


# What a role is granted to find all tables, and to read them.
USAGE = f"USAGE ON SCHEMA {', '.join(HOST.schemas)}"
READING = (USAGE, f"SELECT ON ALL TABLES IN SCHEMA {', '.join(HOST.schemas)}")


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


def create_steps(
    conn: psycopg.Connection[Any], count: int = 1, per_task: int = 2, host: Host = HOST
) -> list[Step]:
    """Insert steps, ``per_task`` of them in each task."""
    steps = []
    for number in range(count):
        if number % per_task == 0:
            task = uuid.uuid4()
        steps.append(Step(uuid.uuid4(), task, f"step_{number % per_task}"))
        insert_step(conn, steps[-1], host=host)
    return steps


def insert_step(
    conn: psycopg.Connection[Any],
    step: Step,
    correlation_id: uuid.UUID | None = None,
    host: Host = HOST,
) -> None:
    """Insert a step, with its task and its name where they are new."""
    conn.execute(
        f"INSERT INTO {host.tasks} (task_uuid, correlation_id) VALUES (%s, %s) "
        "ON CONFLICT DO NOTHING".encode(),
        (step.task_uuid, correlation_id or uuid.uuid4()),
    )
    # Not every host has a unique name.
    conn.execute(
        f"INSERT INTO {host.named_steps} (name) SELECT %(name)s::text "
        f"WHERE NOT EXISTS (SELECT FROM {host.named_steps} WHERE name = %(name)s::text) "
        "ON CONFLICT DO NOTHING".encode(),
        {"name": step.name},
    )
    conn.execute(
        f"INSERT INTO {host.steps} (workflow_step_uuid, task_uuid, named_step_uuid) "
        f"SELECT %s, %s, named_step_uuid FROM {host.named_steps} WHERE name = %s LIMIT 1".encode(),
        (step.step_uuid, step.task_uuid, step.name),
    )


def insert_each(
    conn: psycopg.Connection[Any], transitions: list[Transition], host: Host = HOST
) -> None:
    """One INSERT per transition."""
    with conn.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {host.transitions} ({host.columns}) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s)".encode(),
            [transition.row for transition in transitions],
        )


def insert_together(
    conn: psycopg.Connection[Any], transitions: list[Transition], host: Host = HOST
) -> None:
    """All transitions in one INSERT."""
    rows = [value for transition in transitions for value in transition.row]
    values = ", ".join(["(%s, %s, %s, %s, %s::jsonb, %s, %s)"] * len(transitions))
    conn.execute(f"INSERT INTO {host.transitions} ({host.columns}) VALUES {values}".encode(), rows)


def insert_copy(
    conn: psycopg.Connection[Any], transitions: list[Transition], host: Host = HOST
) -> None:
    """All transitions by COPY."""
    with (
        conn.cursor() as cursor,
        cursor.copy(f"COPY {host.transitions} ({host.columns}) FROM STDIN".encode()) as copy,
    ):
        for transition in transitions:
            copy.write_row(transition.row)


def delete_transitions(conn: psycopg.Connection[Any], host: Host = HOST) -> int:
    """Delete all transitions, and first the engine's own audit of them; gives how many."""
    for table in host.own_audit:
        conn.execute(f"DELETE FROM {table}".encode())
    return conn.execute(f"DELETE FROM {host.transitions}".encode()).rowcount


@contextmanager
def behind_our_back(conn: psycopg.Connection[Any]) -> Iterator[None]:
    """As a superuser may: no trigger fires that is not always on, ours on the engine's neither."""
    conn.execute("SET session_replication_role = replica")
    yield
    conn.execute("SET session_replication_role = origin")


def disable_own_audit(conn: psycopg.Connection[Any]) -> None:
    """Keep the engine's own audit out: it needs the session's path, and rights of who inserts."""
    if HOST.has_own_audit:
        conn.execute(f"ALTER TABLE {HOST.transitions} DISABLE TRIGGER trg_step_result_audit")


def drop_constraints(conn: psycopg.Connection[Any], kind: str) -> None:
    """Drop what constraints of a kind, as pg_constraint has it, the transitions have."""
    found = conn.execute(
        "SELECT conname AS name FROM pg_constraint WHERE conrelid = %s::regclass AND contype = %s",
        (HOST.transitions, kind),
    ).fetchall()
    for each in found:
        conn.execute(f"ALTER TABLE {HOST.transitions} DROP CONSTRAINT {each['name']}".encode())


def real_transitions() -> list[dict[str, Any]]:
    """The transitions that a real worker wrote: ``to_state``, ``from_state``, ``metadata``."""
    path = Path(__file__).parents[1] / "data" / "tasker_transitions.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
