"""Plain worker results, where a test needs some and does not look into them."""

from __future__ import annotations

import json
import uuid
from typing import Any

import psycopg

from tests.support.host import FAILED, HOST, OK, Host, Transition, create_steps, insert_each


def record_results(
    conn: psycopg.Connection[Any], count: int, host: Host = HOST
) -> list[Transition]:
    """Write ``count`` results, each of a step of its own that went in progress before it."""
    transitions = []
    for number, step in enumerate(create_steps(conn, count, host=host)):
        succeeded = number % 3 != 2
        event = {
            "type": "EnqueueForOrchestration",
            "data": {"success": succeeded, "metadata": {"execution_time_ms": number}},
        }
        metadata = {
            "event": json.dumps(event),
            "worker_uuid": str(uuid.uuid4()),
            "correlation_id": str(uuid.uuid4()),
        }
        state = OK if succeeded else FAILED
        transitions += [
            Transition(step, "in_progress", "{}", 1, "enqueued"),
            Transition(step, state, json.dumps(metadata), 2, "in_progress"),
        ]
    insert_each(conn, transitions, host)
    return [transition for transition in transitions if transition.to_state in (OK, FAILED)]


def count_audit_rows(conn: psycopg.Connection[Any], schema: str = HOST.audit_schema) -> int:
    """How many audit rows there are."""
    (status,) = conn.execute(
        f'SELECT * FROM "{schema}".get_step_audit_status()'.encode()
    ).fetchall()
    count: int = status["audit_rows"]
    return count
