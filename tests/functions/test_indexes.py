"""Each index earns its place: a query of ours uses it."""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter
from datetime import datetime
from typing import Any

import pytest

from step_audit.database import Connection, call
from tests.properties.test_backfill import before_the_install
from tests.support.host import (
    HOST,
    OK,
    Transition,
    create_steps,
    disable_own_audit,
    insert_each,
    insert_together,
)

ROWS = 2000
PAIR = "uq_audit_step_transition"
SINCE = "idx_audit_recorded_xid"
RARE = uuid.UUID(int=62)
COMMON = uuid.UUID(int=1)
GONE = uuid.UUID(int=7)

# The call, and the index that its plan must use.
CALLS = {
    "list_step_audits(p_audit_uuid => %(audit)s)": "pk_audit",
    "list_step_audits(p_step_uuid => %(step)s)": "idx_audit_step_uuid",
    "list_step_audits(p_task_uuid => %(task)s)": "idx_audit_task_uuid",
    "list_step_audits(p_worker_uuid => %(rare)s)": "idx_audit_worker_uuid",
    "list_step_audits(p_correlation_id => %(rare)s)": "idx_audit_correlation_id",
    "list_step_audits(p_success => FALSE)": "idx_audit_failures",
    "list_step_audits(p_limit => 10)": "idx_audit_recorded_at",
    "list_step_audits(p_recorded_from => %(now)s)": "idx_audit_recorded_at",
    "list_step_audits(p_before_recorded_at => %(now)s, p_before_audit_uuid => %(rare)s)": (
        "idx_audit_recorded_at"
    ),
    "get_step_audit_history(%(step)s)": "idx_audit_step_uuid",
    "get_task_audit_history(%(task)s)": "idx_audit_task_uuid",
}


@pytest.fixture
def filled(conn: Connection) -> dict[str, Any]:
    """Two thousand results of a common worker, first some of one that is gone, last a rare one."""
    steps = create_steps(conn, 200)
    gone = json.dumps({"worker_uuid": str(GONE), "correlation_id": str(RARE)[:8]})
    common = json.dumps({"worker_uuid": str(COMMON), "correlation_id": str(RARE)[:8]})
    rare = json.dumps({"worker_uuid": str(RARE), "correlation_id": str(RARE)})
    for number in range(ROWS // 200):
        metadata = gone if number < 2 else common
        insert_together(conn, [Transition(step, OK, metadata, number) for step in steps])
    insert_each(conn, [Transition(steps[0], OK, rare, ROWS)])
    conn.execute("ANALYZE")
    return {
        "audit": uuid.uuid4(),
        "step": steps[0].step_uuid,
        "task": steps[0].task_uuid,
        "rare": RARE,
        "common": COMMON,
        "gone": GONE,
        "now": datetime(2100, 1, 1),
    }


def plans(conn: Connection, call: str, arguments: dict[str, Any]) -> str:
    """The plans of all statements that run inside the call, by auto_explain."""
    notices: list[str] = []
    conn.execute("LOAD 'auto_explain'")
    for setting in (
        "auto_explain.log_min_duration = 0",
        "auto_explain.log_nested_statements = on",
        "auto_explain.log_level = notice",
    ):
        conn.execute(f"SET {setting}")
    conn.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    conn.execute(f"SELECT * FROM {call}".encode(), arguments)
    return "\n".join(notices)


@pytest.mark.parametrize(("call", "index"), CALLS.items())
def test_the_call_uses_the_index(
    conn: Connection, filled: dict[str, Any], call: str, index: str
) -> None:
    assert index in plans(conn, call, filled)


# The same of the versions that stand no more.
CHANGES = {
    "list_step_audit_changes(p_limit => 10)": "pk_step_audit_change",
    "list_step_audit_changes(p_before_change_uuid => %(change)s)": "pk_step_audit_change",
    "list_step_audit_changes(p_transition_uuid => %(transition)s)": "idx_changes_transition_uuid",
    "list_step_audit_changes(p_step_uuid => %(step)s)": "idx_changes_transition_uuid",
    "list_step_audit_changes(p_task_uuid => %(task)s)": "idx_changes_transition_uuid",
    "list_step_audit_changes(p_recorded_from => %(from)s, p_recorded_until => %(until)s)": (
        "idx_changes_recorded_xid"
    ),
    "get_step_audit_history(%(step)s)": "idx_changes_transition_uuid",
    "get_task_audit_history(%(task)s)": "idx_changes_transition_uuid",
    "list_step_audits(p_step_uuid => %(step)s)": "idx_changes_transition_uuid",
}


@pytest.fixture
def changed(conn: Connection, filled: dict[str, Any]) -> dict[str, Any]:
    """The two thousand results, changed ten times and then deleted with their steps."""
    disable_own_audit(conn)
    times = []
    for number in range(10):
        conn.execute(
            f"UPDATE {HOST.transitions} SET metadata = %s".encode(),
            (json.dumps({"event": number, "filling": "x" * 400}),),
        )
        (row,) = conn.execute("SELECT now() AT TIME ZONE 'UTC' AS now").fetchall()
        times.append(row["now"])
    for table in (*HOST.own_audit, HOST.transitions, HOST.steps):
        conn.execute(f"DELETE FROM {table}".encode())
    # A vacuum summarizes the ranges of a BRIN index.
    conn.execute("VACUUM ANALYZE step_audit_changes, step_audit_deleted_steps")
    (change,) = conn.execute(
        "SELECT step_audit_change_uuid AS change, workflow_step_transition_uuid AS transition "
        "FROM step_audit_changes ORDER BY step_audit_change_uuid LIMIT 1"
    ).fetchall()
    return filled | change | {"from": times[4], "until": times[5]}


@pytest.mark.parametrize(("call", "index"), CHANGES.items())
def test_the_call_finds_changes_by_the_index(
    conn: Connection, changed: dict[str, Any], call: str, index: str
) -> None:
    plan = plans(conn, call, changed)
    assert index in plan
    assert "Seq Scan on step_audit_changes" not in plan


def test_the_name_of_a_deleted_step_is_found_by_its_index(
    conn: Connection, changed: dict[str, Any]
) -> None:
    # The table is small, so that to read all of it would be as good.
    conn.execute("SET enable_seqscan = off")
    assert "idx_deleted_steps_step_uuid" in plans(conn, "get_step_audit_history(%(step)s)", changed)


@pytest.mark.parametrize(
    ("worker", "is_fetched"), [("gone", True), ("rare", True), ("common", False)]
)
def test_a_worker_that_is_gone_is_looked_for_by_itself_and_a_common_one_among_the_newest(
    conn: Connection, filled: dict[str, Any], worker: str, is_fetched: bool
) -> None:
    # The table is small, so that to read all of it would be as good.
    conn.execute("SET enable_seqscan = off")
    call = f"list_step_audits(p_worker_uuid => %({worker})s, p_limit => %(limit)s)"
    plan = plans(conn, call, filled | {"limit": 3})
    assert ("idx_audit_worker_uuid" in plan) is is_fetched

    page, everything = (
        conn.execute(f"SELECT * FROM {call}".encode(), filled | {"limit": limit}).fetchall()
        for limit in (3, None)
    )
    assert page == everything[:3] != []


@pytest.mark.parametrize(
    "call",
    ["get_step_audit_history(%(step)s)", "get_task_audit_history(%(task)s)", "list_step_audits()"],
)
def test_the_planner_puts_what_the_engine_holds_into_the_query_of_the_audit(
    conn: Connection, filled: dict[str, Any], call: str
) -> None:
    plan = plans(conn, call, filled)
    assert HOST.relation("tasker_named_steps") in plan
    assert "Function Scan on get_step_audit_context" not in plan


def test_the_backfill_finds_what_is_audited_by_the_pair_and_pages_by_the_key(
    conn: Connection, filled: dict[str, Any]
) -> None:
    plan = plans(conn, "backfill_step_result_audit_batch(%(rare)s, 5)", filled)
    assert PAIR in plan
    assert f"{HOST.relation('tasker_workflow_step_transitions')}_pkey" in plan


def test_the_backfill_does_not_plan_the_checks_of_its_foreign_keys_for_each_row(
    conn: Connection, filled: dict[str, Any]
) -> None:
    (step,) = create_steps(conn)
    call(conn, HOST.audit_schema, "attach_step_result_audit", p_enforce_keys=True)
    with before_the_install(conn):
        insert_each(conn, [Transition(step, OK, "{}", number) for number in range(2)])
    plan = plans(conn, f"backfill_step_result_audit_batch(NULL, {ROWS * 2})", filled)
    checks = re.findall(r"FOR KEY SHARE.*?Index Cond: \((\w+ = [^)]+)\)", plan, re.DOTALL)
    # A plan for one row alone would name its key.
    assert Counter(checks) == {
        "workflow_step_uuid = $1": 2,
        "task_uuid = $1": 2,
        "workflow_step_transition_uuid = $1": 2,
    }


def test_a_batch_reads_little_whatever_the_statistics_say(conn: Connection) -> None:
    """They know no result, the engine has an index by state, and the plan is of empty tables."""
    batch = "SELECT * FROM backfill_step_result_audit_batch(%s, 5)"
    conn.execute(f"CREATE INDEX ON {HOST.transitions} (to_state)".encode())
    (step,) = create_steps(conn)
    insert = (
        "INSERT INTO tasker_workflow_step_transitions "
        "(workflow_step_transition_uuid, workflow_step_uuid, to_state, sort_key, most_recent) "
        "SELECT lpad(n::text, 32, '0')::uuid, %s, %s, n, FALSE "
        "FROM generate_series(%s::int, %s::int) AS n"
    )
    conn.execute(insert, (step.step_uuid, "pending", 1, 5000))
    conn.execute("ANALYZE")
    conn.execute(batch, (None,))
    conn.execute(insert, (step.step_uuid, OK, 5001, 25_000))
    explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {batch}".encode()
    # The first looks up the catalog, too.
    for number in (15_000, 16_000):
        row = conn.execute(explain, (uuid.UUID(f"{number:032}"),)).fetchone()
    assert row is not None
    plan = row["QUERY PLAN"][0]["Plan"]
    assert plan["Actual Rows"] == 1
    assert 0 < plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 50


@pytest.fixture
def sealed(conn: Connection) -> Connection:
    """Twenty thousand results of twenty transactions, all sealed, and then one more."""
    (step,) = create_steps(conn)
    for batch in range(20):
        conn.execute(
            "INSERT INTO tasker_workflow_step_transitions "
            "(workflow_step_uuid, to_state, sort_key, most_recent) "
            "SELECT %s, %s, n, FALSE FROM generate_series(%s::int, %s::int) AS n",
            (step.step_uuid, OK, batch * 1000, batch * 1000 + 999),
        )
    conn.execute("SELECT seal_step_result_audit()")
    insert_each(conn, [Transition(step, OK, "{}", 20_000)])
    # A vacuum summarizes the ranges of a BRIN index.
    conn.execute("VACUUM ANALYZE tasker_workflow_step_result_audit")
    conn.execute("ANALYZE")
    return conn


def test_what_came_since_a_seal_is_found_by_its_transactions(sealed: Connection) -> None:
    assert SINCE in plans(sealed, "seal_step_result_audit()", {})


def test_every_index_of_the_audit_is_seen_here(conn: Connection) -> None:
    rows = conn.execute(
        "SELECT indexname FROM pg_indexes WHERE tablename = 'tasker_workflow_step_result_audit'"
    ).fetchall()
    assert {row["indexname"] for row in rows} == {*CALLS.values(), PAIR, SINCE}


def test_a_deleted_transition_is_looked_for_by_the_pair(
    conn: Connection, filled: dict[str, Any]
) -> None:
    plan = conn.execute(
        "EXPLAIN SELECT FROM ONLY tasker_workflow_step_result_audit "
        "WHERE workflow_step_transition_uuid = %(rare)s FOR KEY SHARE",
        filled,
    ).fetchall()
    assert PAIR in str(plan)
