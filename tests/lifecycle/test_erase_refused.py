"""What an erasure refuses: what is unclear, unsealed, altered or held."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import errors

from step_audit.database import Connection, call
from tests.lifecycle.test_changes import changes, engine, run  # noqa: F401 (a fixture)
from tests.lifecycle.test_erase import (
    AUDIT,
    MARKER,
    PLAIN,
    REASON,
    SALTS,
    SCHEMA,
    attribute,
    delete,
    erase,
    erasures,
    holders_of,
    record,
    rewrite,
    rows,
)
from tests.lifecycle.test_operator_actions import EVENTS
from tests.lifecycle.test_sealed_changes import CHANGES, behind_our_back, seal
from tests.support.command import run as step_audit
from tests.support.command import succeed
from tests.support.host import (
    HOST,
    Transition,
    create_steps,
    insert_each,
)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "Give one of --task, --correlation-id and --record"),
        (("--task", str(uuid4()), "--record", str(uuid4())), 2, "what is to be erased is not"),
        (("--task", str(uuid4())), 3, "there is no record of task"),
    ],
)
def test_what_is_not_there_or_not_clear_is_said(
    conn: Connection, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = step_audit("erase", *arguments, *REASON, to=conn)
    assert (done.code, message in done.err) == (code, True), done
    assert "nothing was erased" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"p_reason": " "}, "no reason is given"),
        ({"p_reason": "x" * 2001}, "2,000 characters"),
        ({"p_transition_uuid": uuid4()}, "has no record"),
    ],
)
def test_what_cannot_be_erased_is_refused(
    conn: Connection, arguments: dict[str, Any], message: str
) -> None:
    result = record(conn)
    seal(conn)
    given = {"p_transition_uuid": result.transition_uuid, "p_reason": "request 62"} | arguments
    with pytest.raises(psycopg.Error, match=message):
        call(conn, SCHEMA, "erase_step_audit_transition", **given)
    assert erasures(conn) == []


@pytest.mark.parametrize("what", ["result", "change", "action", "attribution"])
def test_what_is_not_wholly_sealed_is_refused(conn: Connection, what: str) -> None:
    (step,) = create_steps(conn)
    result = record(conn, PLAIN, step)
    action = Transition(step, "cancelled", json.dumps({"event": {"reason": MARKER}}), 2, "pending")
    if what != "result":
        seal(conn)
    if what == "change":
        rewrite(conn, result, {"event": None})
    if what in ("action", "attribution"):
        insert_each(conn, [action])
    if what == "attribution":
        seal(conn)
        attribute(conn, action)
    wanted = result if what in ("result", "change") else action
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="are not sealed") as refused:
        erase(conn, wanted)
    assert "step-audit seal" in (refused.value.diag.message_hint or "")
    assert erasures(conn) == []
    seal(conn)
    assert erase(conn, wanted) > 0


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE {HOST.transitions} SET metadata = '{{}}' WHERE sort_key = 1",
        f"UPDATE {CHANGES} SET metadata = '{{}}'",
        f"UPDATE {CHANGES} SET recorded_by = 'me'",
        f"UPDATE {AUDIT} SET success = NOT success",
        f"DELETE FROM {CHANGES}",
        f"DELETE FROM {SALTS}",
    ],
)
def test_what_was_altered_is_refused(conn: Connection, statement: str) -> None:
    result = record(conn)
    rewrite(conn, result, {"event": None})
    seal(conn)
    table = statement.split()[1 if statement.startswith("UPDATE") else 2]
    behind_our_back(conn, table, statement)
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="not as it was sealed"):
        erase(conn, result)
    assert erasures(conn) == []


def test_what_came_back_behind_our_back_is_refused(conn: Connection) -> None:
    result = record(conn)
    seal(conn)
    erase(conn, result)
    behind_our_back(conn, HOST.transitions, f"UPDATE {HOST.transitions} SET metadata = '[1]'")
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="not as it was sealed"):
        erase(conn, result)


@pytest.mark.parametrize("by", ["task", "correlation id", "task, deleted"])
def test_what_is_held_is_refused_until_it_is_released(conn: Connection, by: str) -> None:
    correlation_id = uuid4()
    result = record(conn, PLAIN | {"correlation_id": str(correlation_id)})
    if by == "task, deleted":
        delete(conn, result)
    payload = {"reason": "a trial", "operator": "bob"}
    task: UUID | None = result.step.task_uuid
    if by == "correlation id":
        payload, task = payload | {"correlation_id": str(correlation_id)}, None
    (hold,) = rows(
        conn,
        f"INSERT INTO {EVENTS} (kind, task_uuid, payload) VALUES ('hold', %s, %s) "
        "RETURNING step_audit_event_uuid AS key",
        task,
        json.dumps(payload),
    )
    seal(conn)
    command = ("erase", "--task", str(result.step.task_uuid), *REASON)
    done = step_audit(*command, to=conn)
    assert (done.code, "is held" in done.err) == (1, True), done
    assert erasures(conn) == []
    run(
        conn,
        f"INSERT INTO {EVENTS} (kind, task_uuid, payload) VALUES ('release', %s, %s)",
        task,
        json.dumps({"hold": str(hold["key"]), "reason": "it is over", "operator": "bob"}),
    )
    succeed(*command, to=conn)
    assert holders_of(conn, MARKER) == set()
