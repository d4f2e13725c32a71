"""Results without an audit row that an event accounts for, as their step is not there."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from uuid import UUID

from psycopg import sql

from step_audit.database import Connection
from step_audit.trust.verify.queries import columns_of
from step_audit.trust.verify.report import Finding
from step_audit.trust.verify.tables import EVENTS, STEPS, TRANSITIONS, Place

_KIND = b"result without step"


def leave_out_stepless(
    conn: Connection, place: Place, findings: Iterable[Finding]
) -> tuple[list[Finding], list[str]]:
    """The findings without those, and a remark that counts them.

    An event alone is not believed: the engine must have no such step, or one without a task.
    """
    findings = list(findings)
    missing = {each.workflow_step_transition_uuid for each in findings if each.finding == "missing"}
    if not missing:
        return findings, []
    told = set()
    with closing(columns_of(conn, place, EVENTS, "kind", "workflow_step_transition_uuid")) as rows:
        for kind, transition in rows:
            if kind == _KIND and transition is not None and UUID(transition.decode()) in missing:
                told.add(transition)
    if not told:
        return findings, []

    steps: dict[UUID, set[bytes | None]] = {}
    columns = ("workflow_step_transition_uuid", "workflow_step_uuid")
    where = _among(columns[0], told)
    with closing(columns_of(conn, place, TRANSITIONS, *columns, where=where)) as rows:
        for transition, step in rows:
            steps.setdefault(UUID((transition or b"").decode()), set()).add(step)
    wanted = {step for found in steps.values() for step in found if step is not None}
    where = _among("workflow_step_uuid", wanted)
    known = set()
    with closing(
        columns_of(conn, place, STEPS, "workflow_step_uuid", "task_uuid", where=where)
    ) as rows:
        known = {step for step, task in rows if task is not None}
    stepless = {transition for transition, found in steps.items() if not found & known}
    left = [
        each
        for each in findings
        if not (each.finding == "missing" and each.workflow_step_transition_uuid in stepless)
    ]
    count = len(findings) - len(left)
    results = "1 result names" if count == 1 else f"{count} results name"
    remark = (
        f"{results} no step that is there: no audit row can name their task; an event tells each"
    )
    return left, [remark] if count else []


def _among(column: str, values: Iterable[bytes]) -> sql.Composed:
    return sql.SQL("t.{} OPERATOR(pg_catalog.=) ANY ({}::pg_catalog.uuid[])").format(
        sql.Identifier(column), sql.Literal(sorted(each.decode() for each in values))
    )
