"""Play a history, and compare the audit with what the oracle expects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg

from step_audit.trust import reading as oracle
from tests.support.host import (
    FAILED,
    HOST,
    OK,
    Host,
    Transition,
    insert_copy,
    insert_each,
    insert_together,
)
from tests.support.strategies import Write

_WAYS = {"each": insert_each, "together": insert_together, "copy": insert_copy}


@dataclass(frozen=True)
class AuditRow:
    """An audit row without its own key and times, and its anomalies: reason by field."""

    transition_uuid: UUID
    step_uuid: UUID
    task_uuid: UUID
    worker_uuid: UUID | None
    correlation_id: UUID | None
    success: bool
    execution_time_ms: int | None
    backfilled: bool
    recorded_with_transition: bool
    anomalies: dict[str, str]


class _RollbackError(Exception):
    pass


def play(
    conn: psycopg.Connection[Any], history: list[Write], host: Host = HOST
) -> list[Transition]:
    """Write a history; gives the transitions that were not rolled back."""
    kept: list[Transition] = []
    for write in history:
        if write.how == "rolled back":
            try:
                with conn.transaction():
                    insert_each(conn, write.transitions, host)
                    raise _RollbackError
            except _RollbackError:
                continue
        _WAYS[write.how](conn, write.transitions, host)
        kept += write.transitions
    return kept


def audit_rows(conn: psycopg.Connection[Any], host: Host = HOST) -> dict[UUID, AuditRow]:
    """All audit rows by transition; an uninstall that kept them has left only the tables."""
    (home, *_) = host.schemas
    rows = conn.execute(
        f"""
        SELECT
            a.workflow_step_transition_uuid AS transition_uuid,
            a.workflow_step_uuid AS step_uuid,
            a.task_uuid,
            a.worker_uuid,
            a.correlation_id,
            a.success,
            a.execution_time_ms,
            a.backfilled,
            a.recorded_at = t.created_at AS recorded_with_transition,
            (
                SELECT coalesce(jsonb_object_agg(n.field, n.reason), '{{}}')
                FROM {home}.tasker_workflow_step_result_audit_anomalies AS n
                WHERE n.workflow_step_result_audit_uuid = a.workflow_step_result_audit_uuid
            ) AS anomalies
        FROM {home}.tasker_workflow_step_result_audit AS a
        JOIN {host.transitions} AS t USING (workflow_step_transition_uuid)
        """.encode()
    ).fetchall()
    audit = {row["transition_uuid"]: AuditRow(**row) for row in rows}
    assert len(audit) == len(rows), "a transition has two audit rows"
    return audit


def expected_rows(transitions: list[Transition], backfilled: bool = False) -> dict[UUID, AuditRow]:
    """What the oracle expects of the audit of ``transitions``."""
    return {
        t.transition_uuid: _expected_row(t, backfilled)
        for t in transitions
        if t.to_state in (OK, FAILED)
    }


def _expected_row(transition: Transition, backfilled: bool) -> AuditRow:
    reading = oracle.read(transition.to_state, transition.metadata)
    return AuditRow(
        transition_uuid=transition.transition_uuid,
        step_uuid=transition.step.step_uuid,
        task_uuid=transition.step.task_uuid,
        worker_uuid=reading.worker_uuid,
        correlation_id=reading.correlation_id,
        success=reading.success,
        execution_time_ms=reading.execution_time_ms,
        backfilled=backfilled,
        recorded_with_transition=True,
        anomalies=reading.anomalies,
    )
