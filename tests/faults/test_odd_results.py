"""Results that come again or name nothing: the engine goes on, and an event says what happened."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from step_audit.database import Connection, call
from step_audit.trust.verify import verify
from tests.support.host import (
    HOST,
    OK,
    Step,
    Transition,
    create_steps,
    delete_transitions,
    disable_own_audit,
    drop_constraints,
    insert_each,
    insert_step,
)
from tests.support.install import install_audit
from tests.support.partitions import partition_transitions

UNKNOWN = Step(uuid.uuid4(), uuid.uuid4(), "unknown")


def events(conn: Connection) -> list[dict[str, Any]]:
    return conn.execute(
        "SELECT kind, workflow_step_transition_uuid AS transition, workflow_step_uuid AS step "
        "FROM step_audit_events ORDER BY step_audit_event_uuid"
    ).fetchall()


def event(kind: str, transition: Transition) -> dict[str, Any]:
    return {
        "kind": kind,
        "transition": transition.transition_uuid,
        "step": transition.step.step_uuid,
    }


def audit(conn: Connection) -> list[dict[str, Any]]:
    return conn.execute("SELECT * FROM tasker_workflow_step_result_audit").fetchall()


# A result that comes again.


def insert_again(host: Connection, result: Transition) -> None:
    delete_transitions(host)
    insert_each(host, [result])


def insert_again_at_once(host: Connection, result: Transition) -> None:
    with host.transaction():
        insert_again(host, result)


def insert_another_again(host: Connection, result: Transition) -> None:
    delete_transitions(host)
    insert_each(host, [replace(result, metadata='{"worker_uuid": "me"}')])


def move_to_another_partition(host: Connection, result: Transition) -> None:
    moved = host.execute(f"UPDATE {HOST.transitions} SET created_at = '2020-01-15'".encode())
    assert moved.rowcount == 1


def stay(host: Connection) -> None:
    """The transitions as they are."""


@pytest.mark.parametrize(
    ("prepare", "come_again"),
    [
        (stay, insert_again),
        (stay, insert_again_at_once),
        (stay, insert_another_again),
        (partition_transitions, insert_again),
        (partition_transitions, move_to_another_partition),
    ],
)
def test_a_result_that_comes_again_leaves_its_audit_row_as_it_is(
    host: Connection,
    prepare: Callable[[Connection], None],
    come_again: Callable[[Connection, Transition], None],
) -> None:
    prepare(host)
    install_audit(host)
    (step,) = create_steps(host)
    result = Transition(step, OK, "{}", 1)
    insert_each(host, [result])
    before = audit(host)
    assert len(before) == 1
    come_again(host, result)
    assert host.execute(f"SELECT FROM {HOST.transitions}".encode()).rowcount == 1
    assert audit(host) == before
    assert events(host) == [event("result came again", result)]


# A result that names nothing.

STEPLESS = (
    "1 result names no step that is there: no audit row can name their task; an event tells each"
)


def of_an_unknown_step(host: Connection) -> Transition:
    return Transition(UNKNOWN, OK, "{}", 1)


def of_no_step(host: Connection) -> Transition:
    host.execute(f"ALTER TABLE {HOST.transitions} ALTER workflow_step_uuid DROP NOT NULL".encode())
    nothing: Any = None
    return Transition(replace(UNKNOWN, step_uuid=nothing), OK, "{}", 1)


def of_a_step_without_task(host: Connection) -> Transition:
    host.execute(f"ALTER TABLE {HOST.steps} ALTER task_uuid DROP NOT NULL".encode())
    (step,) = create_steps(host)
    host.execute(f"UPDATE {HOST.steps} SET task_uuid = NULL".encode())
    return Transition(step, OK, "{}", 1)


def without_a_key(host: Connection) -> Transition:
    drop_constraints(host, "p")
    host.execute(
        f"ALTER TABLE {HOST.transitions} ALTER workflow_step_transition_uuid DROP NOT NULL".encode()
    )
    (step,) = create_steps(host)
    nothing: Any = None
    return Transition(step, OK, "{}", 1, transition_uuid=nothing)


def with_odd_metadata_too(host: Connection) -> Transition:
    return Transition(UNKNOWN, OK, '{"event": 7, "worker_uuid": "me"}', 1)


@pytest.mark.parametrize(
    "make",
    [of_an_unknown_step, of_no_step, of_a_step_without_task, without_a_key, with_odd_metadata_too],
)
def test_a_result_that_names_nothing_is_an_event(
    host: Connection, make: Callable[[Connection], Transition]
) -> None:
    for table in HOST.own_audit:
        host.execute(f"DROP TABLE {table}".encode())
    disable_own_audit(host)
    drop_constraints(host, "f")
    odd = make(host)
    install_audit(host)
    (good,) = create_steps(host)
    with host.transaction():
        insert_each(host, [odd, Transition(good, OK, "{}", 1)])
    assert [row["workflow_step_uuid"] for row in audit(host)] == [good.step_uuid]
    assert events(host) == [event("result without step", odd)]
    if odd.transition_uuid is None:
        return

    # It is accounted for, and keeps nobody waiting for an audit row that cannot come.
    (status,) = call(host, HOST.audit_schema, "get_step_audit_status")
    assert status["unaudited"] == 0
    report = verify(host, HOST.audit_schema)
    assert report.missing == 0
    assert STEPLESS in report.remarks
    # Without the event it is missing; and with it, where the step is there.
    host.execute("ALTER TABLE step_audit_events DISABLE TRIGGER trg_append_only")
    with host.transaction(force_rollback=True):
        host.execute("UPDATE step_audit_events SET kind = 'result came again'")
        assert verify(host, HOST.audit_schema).missing == 1
        (status,) = call(host, HOST.audit_schema, "get_step_audit_status")
        assert status["unaudited"] == 1


def test_an_event_hides_no_result_whose_step_is_there(conn: Connection) -> None:
    disable_own_audit(conn)
    (step,) = create_steps(conn)
    result = Transition(step, OK, "{}", 1)
    with conn.transaction():
        conn.execute("SET LOCAL session_replication_role = replica")
        insert_each(conn, [result])
    conn.execute(
        "INSERT INTO step_audit_events (kind, workflow_step_transition_uuid, workflow_step_uuid) "
        "VALUES ('result without step', %s, %s)",
        (result.transition_uuid, uuid.uuid4()),
    )
    report = verify(conn, HOST.audit_schema)
    assert (report.missing, STEPLESS in report.remarks) == (1, False)
    (status,) = call(conn, HOST.audit_schema, "get_step_audit_status")
    assert status["unaudited"] == 1


def test_a_step_that_comes_after_its_result_is_audited_by_the_backfill(host: Connection) -> None:
    disable_own_audit(host)
    drop_constraints(host, "f")
    host.execute(
        f"ALTER TABLE {HOST.transitions} ADD FOREIGN KEY (workflow_step_uuid) "
        f"REFERENCES {HOST.steps} DEFERRABLE INITIALLY DEFERRED".encode()
    )
    install_audit(host)
    step = Step(uuid.uuid4(), uuid.uuid4(), "late")
    result = Transition(step, OK, "{}", 1)
    with host.transaction():
        insert_each(host, [result])
        insert_step(host, step)
    assert (audit(host), events(host)) == ([], [event("result without step", result)])
    (batch,) = call(
        host, HOST.audit_schema, "backfill_step_result_audit_batch", p_after=None, p_batch_size=10
    )
    assert batch == {"last_transition_uuid": None, "written": 1, "passed_over": None}
    (row,) = audit(host)
    assert (row["task_uuid"], row["backfilled"]) == (step.task_uuid, True)
