"""What is erased is nowhere in our tables, and the log still says that it was sealed."""

from __future__ import annotations

import json

from step_audit.database import Connection, call
from tests.lifecycle.test_changes import engine, run  # noqa: F401 (a fixture)
from tests.lifecycle.test_sealed_changes import seal
from tests.support.host import HOST, OK, Transition, create_steps, insert_each

MARKER = "erase-me-62"


def erase(conn: Connection, transition: Transition) -> int:
    (row,) = call(
        conn,
        HOST.audit_schema,
        "erase_step_audit_transition",
        p_transition_uuid=transition.transition_uuid,
        p_reason="request 62",
        p_operator="ann",
    )
    leaves: int = row["leaves"]
    return leaves


def test_a_result_is_erased(conn: Connection) -> None:
    (step,) = create_steps(conn)
    result = Transition(step, OK, json.dumps({"event": {"who": MARKER}}), 1)
    insert_each(conn, [result])
    seal(conn)
    assert erase(conn, result) == 1
    assert erase(conn, result) == 0
    run(conn, f"UPDATE {HOST.transitions} SET metadata = '{{}}'")
    seal(conn)
    assert erase(conn, result) == 1
