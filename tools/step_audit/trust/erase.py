"""An erasure, transition by transition, each committed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from uuid import UUID

import psycopg

from step_audit.database import Connection, call, transaction
from step_audit.patience import until_done


@dataclass(frozen=True)
class Subject:
    """What is to be erased: one of the three is given."""

    task: UUID | None = None
    correlation_id: UUID | None = None
    record: UUID | None = None

    @property
    def name(self) -> str:
        """As a sentence has it."""
        if self.task:
            return f"task {self.task}"
        if self.correlation_id:
            return f"correlation id {self.correlation_id}"
        return f"audit row {self.record}"


@dataclass(frozen=True)
class Plan:
    """What an erasure touches.

    Attributes:
        transitions: all that are about the subject, those that are erased already too.
        erased: how many of them are.
        refused: why some of them are refused, a sentence for each.
        leaves: how many leaves lose what they commit to, and so their salt.
        rows: how many rows become empty, by their table and columns.
    """

    transitions: tuple[UUID, ...]
    erased: int
    refused: tuple[str, ...]
    leaves: int
    rows: dict[str, int]


@dataclass(frozen=True)
class Progress:
    """How far an erasure is.

    Attributes:
        erased: transitions so far.
        before: transitions so far that had been erased before.
        refused: why some were refused, a sentence for each.
        holders: who may hold the lock that it has been waiting for; None if it does not wait, or
            not for long.
    """

    erased: int = 0
    before: int = 0
    refused: tuple[str, ...] = field(default=())
    holders: str | None = None


def check_reason(conn: Connection, schema: str, reason: str, operator: str | None) -> None:
    """See that a reason is one, before anything is asked for."""
    with transaction(conn):
        call(conn, schema, "check_retention_reason", p_reason=reason, p_operator=operator)


def plan_erasure(conn: Connection, schema: str, subject: Subject) -> Plan:
    """Look what an erasure would touch; nothing is written."""
    with transaction(conn):
        found = call(
            conn,
            schema,
            "list_step_audit_erasures",
            p_task_uuid=subject.task,
            p_correlation_id=subject.correlation_id,
            p_audit_uuid=subject.record,
        )
        (host,) = call(conn, schema, "get_host_table", p_name="tasker_workflow_step_transitions")
    wanted = [row for row in found if row["refusal"] is None]
    rows = {
        f"{host['get_host_table']}: metadata": "transitions",
        f"{schema}.step_audit_changes: metadata, metadata_json": "changes",
        f"{schema}.tasker_workflow_step_result_audit_anomalies: raw_value": "anomalies",
        f"{schema}.step_audit_events: payload": "events",
    }
    return Plan(
        tuple(row["workflow_step_transition_uuid"] for row in found),
        sum(row["leaves"] == 0 for row in wanted),
        tuple(_refusal(row["refusal"], row["hint"]) for row in found if row["refusal"]),
        sum(row["leaves"] for row in wanted),
        {columns: sum(row[name] for row in wanted) for columns, name in rows.items()},
    )


def run_erasure(
    conn: Connection, schema: str, plan: Plan, reason: str, operator: str | None
) -> Iterator[Progress]:
    """Erase what a plan names; yields how far it is, after each transition.

    A transition that meets a lock or a deadlock is tried again, for as long as it takes.

    Args:
        conn: in autocommit, so that each transition is erased in a transaction of its own.
        schema: where step-audit is installed.
        plan: of :func:`plan_erasure`.
        reason: why; it stays.
        operator: who asked for it; it stays too.
    """
    done = Progress()

    def erase_one(transition_uuid: UUID) -> int:
        with transaction(conn, writes=True):
            (row,) = call(
                conn,
                schema,
                "erase_step_audit_transition",
                p_transition_uuid=transition_uuid,
                p_reason=reason,
                p_operator=operator,
            )
        leaves: int = row["leaves"]
        return leaves

    for each in plan.transitions:
        try:
            leaves = yield from until_done(
                conn, schema, partial(erase_one, each), partial(replace, done)
            )
        except psycopg.errors.ObjectNotInPrerequisiteState as error:
            why = _refusal(error.diag.message_primary, error.diag.message_hint)
            done = replace(done, refused=(*done.refused, why))
        else:
            if leaves:
                done = replace(done, erased=done.erased + 1)
            else:
                done = replace(done, before=done.before + 1)
        yield done


def _refusal(message: str | None, hint: str | None) -> str:
    return f"{message}. {hint}" if hint else f"{message}."
