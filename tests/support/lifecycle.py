"""The life of a step as the design's table has it, and what is stored of one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from hypothesis import strategies as st

from tests.support.host import FAILED, HOST, OK, STATES, Host, Step, create_steps

LAST = {"complete", "cancelled", "resolved_manually"}

# Event: the states that it may come from, and the one that it leads to.
TABLE: dict[str, tuple[set[str], str]] = {
    "Enqueue": ({"pending"}, "enqueued"),
    "Start": ({"enqueued", "pending"}, "in_progress"),
    "EnqueueForOrchestration": ({"in_progress"}, OK),
    "EnqueueAsErrorForOrchestration": ({"in_progress"}, FAILED),
    "Complete": ({OK, FAILED, "in_progress"}, "complete"),
    "Fail": ({OK, FAILED, "in_progress", "pending", "enqueued"}, "error"),
    "WaitForRetry": ({"in_progress", "enqueued", "pending", FAILED}, "waiting_for_retry"),
    "Retry": ({"error", "waiting_for_retry"}, "pending"),
    "ResetForRetry": ({"error"}, "pending"),
    "Cancel": (set(STATES) - LAST, "cancelled"),
    "CompleteManually": (set(STATES), "complete"),
    "ResolveManually": (set(STATES), "resolved_manually"),
}

# What JSON can hold: any text, NUL and lone surrogates too, and numbers of any size. Not st.text():
# to it all characters are equal, and the hostile ones would hardly ever come.
_HOSTILE = st.sampled_from('\0\\"\ud800\udc00u1☕🐘')
_TEXT = st.lists(st.characters() | _HOSTILE, max_size=20).map("".join)
_NUMBERS = (
    st.integers(-5, 5000)
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)
_METADATA = st.fixed_dictionaries(
    {}, optional={"execution_time_ms": _NUMBERS | VALUES, "worker_hostname": _TEXT}
)
RESULTS: st.SearchStrategy[dict[str, Any]] = st.builds(
    lambda others, result: others | result,
    st.dictionaries(_TEXT, VALUES, max_size=2),
    st.fixed_dictionaries(
        {"success": st.booleans(), "metadata": _METADATA | VALUES}, optional={"result": VALUES}
    ),
)


@dataclass(frozen=True)
class Stored:
    """A row of the transitions table; ``xmin`` is the row's version."""

    transition_uuid: UUID
    from_state: str | None
    to_state: str
    metadata: dict[str, Any]
    sort_key: int
    most_recent: bool
    xmin: str

    @property
    def metadata_text(self) -> str:
        return json.dumps(self.metadata)


def chain(conn: psycopg.Connection[Any], step: Step, host: Host = HOST) -> list[Stored]:
    """The transitions of a step, in order; each follows on the one before, the last is current."""
    rows = conn.execute(
        "SELECT workflow_step_transition_uuid AS transition_uuid, from_state, to_state, metadata, "
        f"sort_key, most_recent, xmin::text FROM {host.transitions} "
        "WHERE workflow_step_uuid = %s ORDER BY sort_key".encode(),
        (step.step_uuid,),
    ).fetchall()
    stored = [Stored(**row) for row in rows]
    assert [row.sort_key for row in stored] == list(range(len(stored)))
    assert [row.from_state for row in stored[1:]] == [row.to_state for row in stored[:-1]]
    assert [row.most_recent for row in stored] == [row is stored[-1] for row in stored]
    return stored


def put(conn: psycopg.Connection[Any], step: Step, state: str) -> None:
    """Bring a step into a state, as an engine does that knows nothing of the state machine."""
    with conn.transaction():
        current = conn.execute(
            "UPDATE tasker_workflow_step_transitions SET most_recent = FALSE "
            "WHERE workflow_step_uuid = %s AND most_recent RETURNING to_state, sort_key",
            (step.step_uuid,),
        ).fetchone() or {"to_state": None, "sort_key": -1}
        conn.execute(
            "INSERT INTO tasker_workflow_step_transitions "
            "(workflow_step_uuid, from_state, to_state, sort_key) VALUES (%s, %s, %s, %s)",
            (step.step_uuid, current["to_state"], state, current["sort_key"] + 1),
        )


def started_step(conn: psycopg.Connection[Any]) -> Step:
    """A new step that is in progress."""
    (step,) = create_steps(conn)
    put(conn, step, "in_progress")
    return step


def everything_written(conn: psycopg.Connection[Any]) -> list[Any]:
    """Each transition, audit row and anomaly by version: equal only if nothing was written."""
    return conn.execute(
        f"""
        SELECT xmin::text, ctid::text, t::text FROM {HOST.transitions} AS t
        UNION ALL
        SELECT xmin::text, ctid::text, a::text FROM tasker_workflow_step_result_audit AS a
        UNION ALL
        SELECT xmin::text, ctid::text, n::text FROM tasker_workflow_step_result_audit_anomalies AS n
        ORDER BY 3
        """.encode()
    ).fetchall()


def correlation_id(conn: psycopg.Connection[Any], step: Step) -> UUID:
    """The correlation id of a step's task."""
    row = conn.execute(
        "SELECT correlation_id FROM tasker_tasks WHERE task_uuid = %s", (step.task_uuid,)
    ).fetchone()
    assert row is not None
    found: UUID = row["correlation_id"]
    return found


def event_of(row: Stored) -> list[tuple[str, Any]]:
    """The event as it is written: its members in their order."""
    document = json.loads(row.metadata["event"])
    return list(document.items())
