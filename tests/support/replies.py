"""What the service replies, as the specification has it, read by hand from the tables."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

_BY_HAND = """
SELECT
    a.workflow_step_result_audit_uuid::text AS audit_uuid,
    a.workflow_step_uuid::text AS workflow_step_uuid,
    a.workflow_step_transition_uuid::text AS transition_uuid,
    a.task_uuid::text AS task_uuid,
    to_char(a.recorded_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS recorded_at,
    a.worker_uuid::text AS worker_uuid,
    a.correlation_id::text AS correlation_id,
    a.success,
    a.execution_time_ms,
    (
        SELECT round(extract(EPOCH FROM t.created_at - p.created_at) * 1000)::int
        FROM tasker_workflow_step_transitions AS p
        WHERE p.workflow_step_uuid = a.workflow_step_uuid
            AND p.to_state = 'in_progress' AND p.sort_key < t.sort_key
        ORDER BY p.sort_key DESC LIMIT 1
    ) AS elapsed_ms,
    a.backfilled,
    a.recorded_by,
    n.name AS step_name,
    t.from_state,
    t.to_state,
    (
        SELECT count(*) FROM step_audit_changes AS c
        WHERE c.workflow_step_transition_uuid = a.workflow_step_transition_uuid
            AND c.operation <> 'insert'
    ) AS changes,
    FALSE AS deleted,
    t.metadata ->> 'event' AS event
FROM tasker_workflow_step_result_audit AS a
JOIN tasker_workflow_step_transitions AS t USING (workflow_step_transition_uuid)
JOIN tasker_workflow_steps AS s ON s.workflow_step_uuid = a.workflow_step_uuid
JOIN tasker_named_steps AS n USING (named_step_uuid)
WHERE a.workflow_step_uuid = coalesce(%(step)s, a.workflow_step_uuid)
    AND a.task_uuid = coalesce(%(task)s, a.task_uuid)
ORDER BY a.recorded_at DESC, t.sort_key DESC, a.workflow_step_result_audit_uuid DESC
"""


def expected_replies(
    conn: psycopg.Connection[Any], *, step: UUID | None = None, task: UUID | None = None
) -> list[dict[str, Any]]:
    """The fields of each audit, newest first; events are tagged, as the engine's are."""
    with conn.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_BY_HAND, {"step": step, "task": task}).fetchall()
    for row in rows:
        row["result"] = json.loads(row.pop("event"))["data"]
    return rows
