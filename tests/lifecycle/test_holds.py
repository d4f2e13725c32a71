"""A hold keeps a trail, by task or correlation id, until it is released; both stay in the log."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg import errors

from step_audit.database import Connection, call
from step_audit.trust.purge import Purged
from tests.functions.test_indexes import plans
from tests.lifecycle.test_changes import engine, run  # noqa: F401 (a fixture)
from tests.lifecycle.test_purge import AUDIT, EVENTS, clear, count, everything, purge, seal
from tests.support.command import step_audit, succeed
from tests.support.connect import connect_again
from tests.support.host import HOST, OK, Step, Transition, create_steps, insert_each
from tests.support.roles import login_roles


def hold(conn: Connection, **arguments: object) -> dict[str, Any]:
    given = {"p_reason": "litigation 17"} | arguments
    (done,) = call(conn, HOST.audit_schema, "hold_step_result_audit", **given)
    return done


def release(conn: Connection, held: UUID | None, reason: str = "settled") -> None:
    call(conn, HOST.audit_schema, "release_step_result_audit", p_hold=held, p_reason=reason)


def holds(conn: Connection, active: bool | None = True) -> list[dict[str, Any]]:
    return call(conn, HOST.audit_schema, "list_step_audit_holds", p_active=active)


def result(step: Step, number: int, correlation_id: UUID) -> Transition:
    metadata = {"event": {"success": True}, "correlation_id": str(correlation_id)}
    return Transition(step, OK, json.dumps(metadata), number, "in_progress")


def test_of_one_task_only_what_has_the_correlation_id_is_held(conn: Connection) -> None:
    (step,) = create_steps(conn)
    mine, other = uuid4(), uuid4()
    insert_each(conn, [result(step, 1, mine), result(step, 2, other), result(step, 3, mine)])
    clear(conn)
    seal(conn)
    done = hold(conn, p_correlation_id=mine)
    assert done["records"] == 2
    assert purge(conn) == Purged(records=1, changes=1, kept_by_hold=2)
    assert count(conn, AUDIT, f"correlation_id = '{mine}'") == 2
    release(conn, done["hold"])
    assert purge(conn) == Purged(records=2, changes=2)


def test_what_comes_later_is_held_too(conn: Connection) -> None:
    (step,) = create_steps(conn)
    assert hold(conn, p_task_uuid=step.task_uuid)["records"] == 0
    insert_each(conn, [result(step, 1, uuid4())])
    insert_each(conn, [Transition(step, "cancelled", "{}", 2, "pending")])
    clear(conn)
    seal(conn)
    assert purge(conn) == Purged(kept_by_hold=2)


@pytest.mark.parametrize("at_hold", [True, False])
def test_a_correlation_ids_tasks_stay_held_when_the_engine_has_deleted_them(
    conn: Connection, at_hold: bool
) -> None:
    (step,) = create_steps(conn)
    (row,) = conn.execute(
        f"SELECT correlation_id FROM {HOST.tasks} WHERE task_uuid = %s".encode(), (step.task_uuid,)
    ).fetchall()
    mine = row["correlation_id"]
    if not at_hold:
        run(conn, f"UPDATE {HOST.tasks} SET correlation_id = gen_random_uuid()")
    insert_each(conn, [result(step, 1, uuid4())])
    held = hold(conn, p_correlation_id=mine)["hold"]
    if not at_hold:
        # Its task comes later; a purge meanwhile takes note of it.
        run(conn, f"UPDATE {HOST.tasks} SET correlation_id = %s", mine)
        assert purge(conn).kept_by_engine == 1
    insert_each(conn, [result(step, 2, uuid4())])
    insert_each(conn, [Transition(step, "cancelled", "{}", 3, "pending")])
    clear(conn)
    run(conn, f"DELETE FROM {HOST.tasks}")
    seal(conn)
    for _ in range(2):
        assert purge(conn) == Purged(kept_by_hold=3)
    (listed,) = holds(conn)
    assert listed["hold"] == held
    (extension,) = conn.execute(
        f"SELECT step_audit_event_uuid AS key FROM {EVENTS} WHERE payload ? 'extends'".encode()
    ).fetchall()
    with pytest.raises(errors.InvalidParameterValue, match="is no hold"):
        release(conn, extension["key"])
    release(conn, held)
    assert (purge(conn).records, holds(conn)) == (2, [])


def test_one_of_two_holds_is_enough(conn: Connection) -> None:
    (step,) = create_steps(conn)
    insert_each(conn, [result(step, 1, uuid4())])
    clear(conn)
    seal(conn)
    first, second = (hold(conn, p_task_uuid=step.task_uuid)["hold"] for _ in range(2))
    release(conn, first)
    assert purge(conn).kept_by_hold == 1
    release(conn, second)
    assert purge(conn).records == 1


def test_holds_are_listed_with_their_release(conn: Connection) -> None:
    task, correlation = uuid4(), uuid4()
    first = hold(conn, p_task_uuid=task, p_operator="ann")["hold"]
    second = hold(conn, p_correlation_id=correlation, p_reason="audit 4")["hold"]
    release(conn, first, "case closed")
    (active,) = holds(conn)
    assert (active["hold"], active["task_uuid"]) == (second, None)
    assert (active["correlation_id"], active["reason"]) == (correlation, "audit 4")
    assert (active["operator"], active["recorded_by"]) == (None, "postgres")
    assert (active["released_at"], active["released_by"]) == (None, None)
    (released,) = holds(conn, active=False)
    assert (released["hold"], released["task_uuid"], released["operator"]) == (first, task, "ann")
    assert (released["release_reason"], released["released_by"]) == ("case closed", "postgres")
    assert released["released_at"] > released["recorded_at"]
    assert [row["hold"] for row in holds(conn, active=None)] == [second, first]
    table = succeed("holds", "--all", to=conn).splitlines()
    assert len(table) == 3
    assert f"task {task}" in table[2]
    assert f"correlation id {correlation}" in table[1]
    assert len(json.loads(succeed("holds", "--format", "json", to=conn))) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "of a task or of a correlation id, of one of them"),
        ({"p_task_uuid": uuid4(), "p_correlation_id": uuid4()}, "of one of them"),
        ({"p_task_uuid": uuid4(), "p_reason": ""}, "no reason is given"),
        ({"p_task_uuid": uuid4(), "p_operator": "x" * 2001}, "2,000 characters at most"),
    ],
)
def test_a_hold_says_what_and_why(
    conn: Connection, arguments: dict[str, object], said: str
) -> None:
    with pytest.raises(errors.InvalidParameterValue, match=said):
        hold(conn, **arguments)
    assert count(conn, EVENTS) == 0


def test_a_hold_is_released_once_and_nothing_else_is(conn: Connection) -> None:
    held = hold(conn, p_task_uuid=uuid4())["hold"]
    for unknown in (uuid4(), None):
        with pytest.raises(errors.InvalidParameterValue, match="is no hold"):
            release(conn, unknown)
    with pytest.raises(errors.InvalidParameterValue, match="no reason is given"):
        release(conn, held, " ")
    release(conn, held)
    with pytest.raises(errors.InvalidParameterValue, match="is released already"):
        release(conn, held)
    done = step_audit("release", str(held), "--reason", "settled", to=conn)
    assert (done.code, done.out) == (3, "")
    assert f"hold {held} is released already; nothing was written" in done.err
    assert count(conn, EVENTS) == 2


def test_two_releases_at_once_are_one(conn: Connection) -> None:
    held = hold(conn, p_task_uuid=uuid4())["hold"]

    def try_it(_: int) -> bool:
        with connect_again(conn) as keeper:
            try:
                release(keeper, held)
            except errors.InvalidParameterValue:
                return False
            return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(try_it, range(2))) == [False, True]
    assert count(conn, EVENTS, "kind = 'release'") == 1


def test_a_dry_run_says_how_much_and_writes_nothing(conn: Connection) -> None:
    (step,) = create_steps(conn)
    insert_each(conn, [result(step, 1, uuid4())])
    was = everything(conn)
    said = succeed("hold", "--task", str(step.task_uuid), "--reason", "x", "--dry-run", to=conn)
    assert said == f"would hold task {step.task_uuid}: 1 audit row by now; nothing was written\n"
    assert everything(conn) == was
    done = step_audit("hold", "--reason", "x", to=conn)
    assert (done.code, done.out) == (2, "")
    assert "give either --task or --correlation-id" in done.err


def test_holds_and_releases_are_sealed_and_never_go(conn: Connection) -> None:
    release(conn, hold(conn, p_task_uuid=uuid4())["hold"])
    seal(conn)
    assert purge(conn) == Purged()
    assert count(conn, EVENTS) == 2
    assert count(conn, f"{HOST.audit_schema}.step_audit_leaves", "kind = 'event'") == 2


def test_an_attribution_of_what_was_purged_is_refused(conn: Connection) -> None:
    (step,) = create_steps(conn)
    action = Transition(step, "cancelled", "{}", 1, "pending")
    insert_each(conn, [action])
    clear(conn)
    seal(conn)
    assert purge(conn) == Purged(events=1)
    with pytest.raises(errors.InvalidParameterValue, match="is no operator action"):
        call(
            conn,
            HOST.audit_schema,
            "attribute_operator_action",
            p_transition_uuid=action.transition_uuid,
            p_operator="ann",
        )


def test_who_may_hold_and_release_needs_no_right_on_any_table(conn: Connection) -> None:
    task = uuid4()
    with login_roles(conn, "clerk"):
        with (
            connect_again(conn, user="clerk") as clerk,
            pytest.raises(errors.InsufficientPrivilege),
        ):
            hold(clerk, p_task_uuid=task)
        succeed("grant", "clerk", "--as", "holder", to=conn)
        with connect_again(conn, user="clerk") as clerk:
            release(clerk, hold(clerk, p_task_uuid=task)["hold"])
            with pytest.raises(errors.InsufficientPrivilege):
                purge(clerk)
            with pytest.raises(errors.InsufficientPrivilege):
                run(clerk, f"SELECT FROM {EVENTS}")
        rows = conn.execute(f"SELECT kind, recorded_by FROM {EVENTS}".encode()).fetchall()
        assert {row["kind"]: row["recorded_by"] for row in rows} == {
            "hold": "clerk",
            "release": "clerk",
        }


@pytest.mark.parametrize("by_task", [True, False])
def test_a_look_for_holds_reads_no_other_events(conn: Connection, by_task: bool) -> None:
    (step,) = create_steps(conn)
    made = result(step, 1, uuid4())
    insert_each(conn, [made])
    subject = {"p_task_uuid": step.task_uuid} if by_task else {"p_correlation_id": uuid4()}
    release(conn, hold(conn, **subject)["hold"])
    run(
        conn,
        f"INSERT INTO {EVENTS} (kind, task_uuid) SELECT 'operator action', gen_random_uuid() "
        "FROM generate_series(1, 5000)",
    )
    run(conn, "ANALYZE")
    arguments = {"t": made.transition_uuid, "s": step.step_uuid}
    plan = plans(conn, "is_step_audit_held(%(t)s, %(s)s, NULL)", arguments)
    assert "idx_events_hold_task_uuid" in plan
    assert "Seq Scan on step_audit_events" not in plan
