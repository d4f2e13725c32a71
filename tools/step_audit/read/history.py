"""The history of a step or a task, read from the database."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from step_audit.database import Connection, call


def read_history(
    conn: Connection, schema: str, *, step: UUID | None = None, task: UUID | None = None
) -> list[dict[str, Any]]:
    """Audited results of one step, or of all steps of one task, newest first.

    The columns are those of the SQL function ``list_step_audits``. ``result`` is the JSON text
    that stands in the transition, since Python's floats would not keep every digit.
    """
    if task is not None:
        return call(conn, schema, "get_task_audit_history", p_task_uuid=task)
    return call(conn, schema, "get_step_audit_history", p_step_uuid=step)
