"""One row never stops a backfill: the others are audited, and it is named."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
import pytest
import rich.console

from step_audit import patience
from step_audit.cli import progress
from step_audit.database import Connection, call
from step_audit.read.audit import get_audit_history, list_audits
from step_audit.read.web import create_app
from step_audit.setup.backfill import run_backfill
from step_audit.trust.verify import verify
from tests.faults.test_backfill_concurrency import wait_until
from tests.support.command import run, succeed
from tests.support.connect import connect_again, dsn_of
from tests.support.host import (
    FAILED,
    HOST,
    OK,
    Step,
    Transition,
    create_steps,
    disable_own_audit,
    drop_constraints,
    insert_each,
)
from tests.support.install import install_audit
from tests.support.service import serving


def audited(conn: Connection) -> dict[UUID, bool]:
    """Whether backfilled, by transition."""
    rows = conn.execute(
        "SELECT workflow_step_transition_uuid AS uuid, backfilled "
        "FROM tasker_workflow_step_result_audit"
    ).fetchall()
    return {row["uuid"]: row["backfilled"] for row in rows}


def unkeyed(host: Connection) -> Connection:
    """The engine without keys of its own."""
    for table in HOST.own_audit:
        host.execute(f"DROP TABLE {table}".encode())
    disable_own_audit(host)
    drop_constraints(host, "f")
    for key in host.execute(
        "SELECT conname AS name FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'f'",
        (HOST.steps,),
    ).fetchall():
        host.execute(f"ALTER TABLE {HOST.steps} DROP CONSTRAINT {key['name']}".encode())
    return host


# Past results whose step or task is gone.


def delete_task(host: Connection, step: Step) -> None:
    host.execute(f"DELETE FROM {HOST.tasks} WHERE task_uuid = %s".encode(), (step.task_uuid,))


def delete_step(host: Connection, step: Step) -> None:
    host.execute(
        f"DELETE FROM {HOST.steps} WHERE workflow_step_uuid = %s".encode(), (step.step_uuid,)
    )


def forget_task(host: Connection, step: Step) -> None:
    host.execute(f"ALTER TABLE {HOST.steps} ALTER task_uuid DROP NOT NULL".encode())
    host.execute(
        f"UPDATE {HOST.steps} SET task_uuid = NULL WHERE workflow_step_uuid = %s".encode(),
        (step.step_uuid,),
    )


@pytest.mark.parametrize("enforce_keys", [False, True], ids=["loose", "enforced"])
@pytest.mark.parametrize(
    ("lose", "is_named"),
    [(delete_task, "enforced only"), (delete_step, "always"), (forget_task, "always")],
)
def test_a_past_result_that_names_nothing_is_passed_over_and_named(
    host: Connection, lose: Callable[[Connection, Step], None], is_named: str, enforce_keys: bool
) -> None:
    unkeyed(host)
    steps = create_steps(host, 9, per_task=1)
    results = [Transition(step, OK, "{}", 1) for step in steps]
    insert_each(host, results)
    lost = results[4]
    lose(host, lost.step)
    install_audit(host, enforce_keys=enforce_keys)
    done = run("backfill", "--batch-size", "2", "--dsn", dsn_of(host))
    assert (done.code, done.err) == (0, "")
    named = enforce_keys or is_named == "always"
    expected = {each.transition_uuid for each in results} - (
        {lost.transition_uuid} if named else set()
    )
    assert set(audited(host)) == expected
    said = (
        "backfill: 1 results were passed over, as their step or task is gone: transitions "
        f"{lost.transition_uuid}\n"
    )
    assert (said in done.out) is named
    # By SQL too.
    notices: list[str] = []
    host.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    host.execute("CALL backfill_step_result_audit(2)")
    assert any(str(lost.transition_uuid) in notice for notice in notices) is named
    assert notices[-1] == "backfill complete: 0 audit rows written"


# Locks.


def test_who_blocks_the_backfill_is_named_until_he_lets_go(
    host: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "_PATIENCE", 0.0)
    steps = create_steps(host, 4, per_task=1)
    insert_each(host, [Transition(step, OK, "{}", 1) for step in steps])
    install_audit(host, enforce_keys=True)
    with connect_again(host) as idle, connect_again(host) as conn:
        idle.execute("BEGIN")
        idle.execute(f"SELECT FROM {HOST.tasks} FOR UPDATE".encode())
        batches = run_backfill(conn, HOST.audit_schema, batch_size=2)
        waiting = next(batches)
        assert (waiting.written, waiting.passed_over) == (0, 0)
        assert waiting.holders is not None
        assert re.fullmatch(
            rf"process {idle.info.backend_pid} \(idle in transaction\), "
            r"in a transaction since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\S*",
            waiting.holders,
        )
        assert next(batches).holders is not None
        idle.execute("ROLLBACK")
        assert [each.written for each in batches if not each.holders] == [2, 4, 4]
    assert len(audited(host)) == 4


def test_a_task_that_is_locked_blocks_no_backfill_unless_keys_are_enforced(
    host: Connection,
) -> None:
    steps = create_steps(host, 4, per_task=1)
    insert_each(host, [Transition(step, OK, "{}", 1) for step in steps])
    install_audit(host)
    with connect_again(host) as idle, idle.transaction():
        idle.execute(f"SELECT FROM {HOST.tasks} FOR UPDATE".encode())
        succeed("backfill", to=host)
        assert len(audited(host)) == 4


def test_the_command_says_who_blocks_it(host: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_PATIENCE", 0.0)
    (step,) = create_steps(host)
    insert_each(host, [Transition(step, OK, "{}", 1)])
    install_audit(host)
    printed: list[str] = []

    class Console(rich.console.Console):
        def print(self, *parts: Any, **options: Any) -> None:
            printed.extend(map(str, parts))
            if "waits for a lock" in printed[-1]:
                idle.execute("ROLLBACK")

    monkeypatch.setattr(progress, "Console", Console)
    with connect_again(host) as idle:
        idle.execute("BEGIN")
        idle.execute("LOCK TABLE tasker_workflow_step_result_audit IN SHARE MODE")
        succeed("backfill", to=host)
        pid = idle.info.backend_pid
    assert f"backfill: waits for a lock, held by process {pid} (idle in transaction)" in printed[0]
    assert printed[-1].startswith("backfill: 1 audit rows in ")


def test_the_procedure_says_who_blocks_it(host: Connection) -> None:
    """Its patience is five seconds, and no test's to shorten."""
    (step,) = create_steps(host)
    insert_each(host, [Transition(step, OK, "{}", 1)])
    install_audit(host)
    notices: list[str] = []
    with connect_again(host) as idle, connect_again(host) as conn:
        conn.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        idle.execute("BEGIN")
        idle.execute("LOCK TABLE tasker_workflow_step_result_audit IN SHARE MODE")
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(conn.execute, "CALL backfill_step_result_audit()")
            wait_until(lambda: bool(notices) or done.done())
            idle.execute("ROLLBACK")
            done.result()
        pid = idle.info.backend_pid
    assert notices[0].startswith(f"the backfill waits for a lock, held by process {pid} (idle in")
    assert notices[-1] == "backfill complete: 1 audit rows written"


def deadlock_once(host: Connection) -> None:
    """The engine's own code ends the first batch with a deadlock, as the server would."""
    host.execute("CREATE SEQUENCE meetings")
    host.execute(
        "CREATE FUNCTION meet() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF nextval('meetings') = 1 THEN RAISE deadlock_detected; END IF; RETURN NEW; END $$"
    )
    host.execute("ALTER FUNCTION meet SET search_path FROM CURRENT")
    host.execute(
        "CREATE TRIGGER meet AFTER INSERT ON tasker_workflow_step_result_audit "
        "FOR EACH ROW EXECUTE FUNCTION meet()"
    )


def by_command(conn: Connection) -> None:
    succeed("backfill", "--batch-size", "2", to=conn)


def by_procedure(conn: Connection) -> None:
    conn.execute("CALL backfill_step_result_audit(2)")


WAYS = pytest.mark.parametrize("way", [by_command, by_procedure])


@WAYS
def test_a_deadlock_within_a_batch_is_tried_again(
    host: Connection, way: Callable[[Connection], None]
) -> None:
    steps = create_steps(host, 5)
    insert_each(host, [Transition(step, OK, "{}", 1) for step in steps])
    install_audit(host)
    deadlock_once(host)
    way(host)
    assert len(audited(host)) == 5
    # A row of each attempt, of which the first left none.
    assert host.execute("SELECT last_value AS n FROM meetings").fetchone() == {"n": 6}


@WAYS
def test_a_batch_that_meets_another_backfill_leaves_it_what_it_has_begun(
    host: Connection, way: Callable[[Connection], None]
) -> None:
    """Two backfills at once: neither waits for good, and no result is audited twice."""
    steps = create_steps(host, 5)
    insert_each(host, [Transition(step, OK, "{}", 1) for step in steps])
    install_audit(host)
    with connect_again(host) as other, ThreadPoolExecutor(1) as pool:
        other.execute("BEGIN")
        (batch,) = call(
            other,
            HOST.audit_schema,
            "backfill_step_result_audit_batch",
            p_after=None,
            p_batch_size=3,
        )
        assert batch["written"] == 3
        with connect_again(host) as conn:
            done = pool.submit(way, conn)
            wait_until(lambda: is_waiting(host))
            other.execute("COMMIT")
            done.result()
    assert len(audited(host)) == 5


def is_waiting(host: Connection) -> bool:
    return bool(
        host.execute(
            "SELECT FROM pg_stat_activity WHERE datname = current_database() "
            "AND wait_event_type = 'Lock' AND query LIKE '%backfill%'"
        ).rowcount
    )


# What is backfilled is read in order.


def test_results_of_equal_time_come_in_the_order_of_their_sort_keys(host: Connection) -> None:
    step, other = create_steps(host, 2)
    keys = [7, 3, 12, 1, 9, 5, 2, 11, 8, 4, 10, 6]
    insert_each(host, [Transition(step, OK if n % 2 else FAILED, "{}", n) for n in keys])
    insert_each(host, [Transition(other, OK, "{}", 1)])
    host.execute(f"UPDATE {HOST.transitions} SET created_at = '2026-11-22 10:00:00'".encode())
    install_audit(host)
    succeed("backfill", "--batch-size", "5", to=host)
    newest_first = sorted(keys, reverse=True)

    history = call(host, HOST.audit_schema, "get_step_audit_history", p_step_uuid=step.step_uuid)
    assert [row["sort_key"] for row in history] == newest_first
    of_task = call(host, HOST.audit_schema, "get_task_audit_history", p_task_uuid=step.task_uuid)
    in_order = [row for row in of_task if row["workflow_step_uuid"] == step.step_uuid]
    assert [row["sort_key"] for row in in_order] == newest_first

    listed, pages, cursor = [], 0, None
    while pages == 0 or cursor:
        page = list_audits(host, step_uuid=step.step_uuid, limit=1, cursor=cursor)
        listed += [audit.sort_key for audit in page.items]
        pages, cursor = pages + 1, page.next_cursor
    assert (listed, pages) == (newest_first, 12)

    printed = succeed("history", str(step.step_uuid), "--format", "jsonl", to=host)
    assert [json.loads(line)["sort_key"] for line in printed.splitlines()] == newest_first

    order = [str(row["workflow_step_transition_uuid"]) for row in history]
    with serving(create_app(dsn_of(host))) as address:
        path = f"/v1/tasks/{step.task_uuid}/workflow_steps/{step.step_uuid}/audit"
        replied = httpx.get(f"{address}{path}").json()
        assert [each["transition_uuid"] for each in replied] == order
        paged: list[str] = []
        query = {"step_uuid": str(step.step_uuid), "limit": "1"}
        while len(paged) < 20:
            reply = httpx.get(f"{address}/v1/audit", params=query).json()
            paged += [item["transition_uuid"] for item in reply["items"]]
            if not reply["next_cursor"]:
                break
            query["cursor"] = reply["next_cursor"]
        assert paged == order


@pytest.mark.parametrize(
    "created_at",
    [
        "0001-01-01 BC",
        "4713-01-01 BC",
        "0001-01-01",
        "9999-12-31 23:59:59.999999",
        "10000-01-01",
        "294276-12-31 23:59:59.999999",
        "infinity",
        "-infinity",
    ],
)
def test_a_time_that_no_calendar_holds_is_backfilled_and_read(
    host: Connection, created_at: str
) -> None:
    (step,) = create_steps(host)
    result = Transition(step, OK, '{"event": {"success": true}}', 2)
    insert_each(host, [Transition(step, "in_progress", "{}", 1), result])
    host.execute(f"UPDATE {HOST.transitions} SET created_at = %s".encode(), (created_at,))
    install_audit(host)
    assert "backfill: 1 audit rows in" in succeed("backfill", to=host)
    assert audited(host) == {result.transition_uuid: True}

    (audit,) = get_audit_history(host, step.step_uuid)
    assert isinstance(audit.recorded_at, datetime)
    assert list_audits(host).items == [audit]
    assert audit.to_state == OK
    for form in ("table", "json", "jsonl", "csv"):
        printed = succeed("history", str(step.step_uuid), "--format", form, to=host)
        assert audit.recorded_at.strftime("-%m-%d") in printed
    with serving(create_app(dsn_of(host))) as address:
        path = f"/v1/tasks/{step.task_uuid}/workflow_steps/{step.step_uuid}/audit"
        (replied,) = httpx.get(f"{address}{path}").json()
        assert replied["transition_uuid"] == str(result.transition_uuid)
        (item,) = httpx.get(f"{address}/v1/audit").json()["items"]
        assert item == replied
    assert verify(host, HOST.audit_schema).findings == ()
