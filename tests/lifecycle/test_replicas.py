"""What fires no trigger of ours: a subscription that applies, and a session that says it is one.

The triggers keep nothing there, the host goes on, and verify names what was changed meanwhile.
"""

from __future__ import annotations

from collections import Counter

import pytest

from step_audit.database import Connection, call
from step_audit.trust.verify import verify
from tests.lifecycle.test_changes import (
    DELETED_STEPS,
    changes,
    drop_declared_keys,
    engine,  # noqa: F401 (a fixture)
    run,
)
from tests.lifecycle.test_cleanup import seal
from tests.support.host import HOST, behind_our_back, disable_own_audit
from tests.support.results import record_results
from tests.trust.test_subscribers import ENGINE, Sides, sides  # noqa: F401 (a fixture)

UPDATE = f"""UPDATE {HOST.transitions} SET metadata = '{{"event": null}}' WHERE sort_key = 2"""
# The payload of three results, and what is read in it: worker, correlation id, time.
CHANGED = {"altered record": 3, "mismatch": 9}
DELETE = f"DELETE FROM {HOST.transitions}"


def found(conn: Connection) -> Counter[str]:
    """What verify finds, but for the keys that no TRUNCATE works with."""
    findings = verify(conn, HOST.audit_schema, workers=1).findings
    return Counter(
        each.finding for each in findings if not str(each.field).startswith("constraint ")
    )


def assert_applies(sides: Sides) -> None:  # noqa: F811
    """No worker has stopped: what the publisher wrote last is there."""
    sides.catch_up()
    sides.subscriber.execute("SELECT pg_stat_force_next_flush()")
    (stats,) = sides.subscriber.execute(
        "SELECT apply_error_count AS errors FROM pg_stat_subscription_stats"
    ).fetchall()
    assert stats["errors"] == 0
    there, here = (
        conn.execute(f"SELECT t::text FROM {HOST.transitions} AS t ORDER BY 1".encode()).fetchall()
        for conn in (sides.subscriber, sides.publisher)
    )
    assert there == here


def test_a_subscriber_keeps_no_change_and_names_what_it_sealed(sides: Sides) -> None:  # noqa: F811
    for conn in (sides.publisher, sides.subscriber):
        disable_own_audit(conn)
    sides.subscribe("engine", *ENGINE)
    record_results(sides.publisher, 3)
    assert_applies(sides)
    assert found(sides.subscriber) == {"missing": 3}
    run(sides.subscriber, f"CALL {HOST.audit_schema}.backfill_step_result_audit()")
    assert seal(sides.subscriber) == 3
    assert found(sides.subscriber) == {}

    run(sides.publisher, UPDATE)
    assert_applies(sides)
    assert found(sides.subscriber) == CHANGED
    run(sides.publisher, DELETE)
    run(sides.publisher, f"DELETE FROM {HOST.steps}")
    assert_applies(sides)
    assert found(sides.subscriber) == {"altered record": 3, "extra": 3}
    assert changes(sides.subscriber) == []
    assert sides.subscriber.execute(f"SELECT FROM {DELETED_STEPS}".encode()).rowcount == 0
    (health,) = call(sides.subscriber, HOST.audit_schema, "get_step_audit_health")
    assert any("subscription engine applies" in problem for problem in health["problems"])

    # The publisher has kept all of it.
    assert Counter(each["operation"] for each in changes(sides.publisher)) == {
        "update": 3,
        "delete": 3,
    }
    seal(sides.publisher)
    assert found(sides.publisher) == {}


def test_a_truncate_of_the_publishers_stops_no_worker(sides: Sides) -> None:  # noqa: F811
    """Once the audit has been attached beside the subscription."""
    for conn in (sides.publisher, sides.subscriber):
        disable_own_audit(conn)
    drop_declared_keys(sides.publisher)
    for table in HOST.own_audit:
        # It is in no publication, and its keys would stop a TRUNCATE.
        run(sides.subscriber, f"DROP TABLE {table}")
    sides.subscribe("engine", *ENGINE)
    call(sides.subscriber, HOST.audit_schema, "attach_step_result_audit")
    assert verify(sides.subscriber, HOST.audit_schema, workers=1).findings == ()
    (health,) = call(sides.subscriber, HOST.audit_schema, "get_step_audit_health")
    assert ["subscription engine" in problem for problem in health["problems"]] == [True]
    record_results(sides.publisher, 3)
    run(sides.publisher, f"TRUNCATE {HOST.tasks} CASCADE")
    assert_applies(sides)
    record_results(sides.publisher, 1)
    assert_applies(sides)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (UPDATE, CHANGED),
        (DELETE, {"altered record": 3, "extra": 3}),
        (
            "TRUNCATE " + ", ".join((*HOST.own_audit, HOST.transitions)),
            {"altered record": 3, "extra": 3},
        ),
    ],
    ids=["update", "delete", "truncate"],
)
def test_what_a_session_changes_as_a_replica_is_named(
    conn: Connection, statement: str, expected: dict[str, int]
) -> None:
    drop_declared_keys(conn)
    record_results(conn, 3)
    assert seal(conn) == 3
    with behind_our_back(conn):
        run(conn, statement)
    assert changes(conn) == []
    assert found(conn) == expected


def test_what_a_session_records_as_a_replica_is_missing_until_it_is_backfilled(
    conn: Connection,
) -> None:
    with behind_our_back(conn):
        record_results(conn, 3)
    assert found(conn) == {"missing": 3}
    # From here on the triggers fire, and keep what has no audit row yet.
    run(conn, UPDATE)
    run(conn, DELETE)
    assert Counter(each["operation"] for each in changes(conn)) == {"update": 3, "delete": 3}
    run(conn, f"CALL {HOST.audit_schema}.backfill_step_result_audit()")
    assert found(conn) == {}
    assert seal(conn) == 9
    assert found(conn) == {}
