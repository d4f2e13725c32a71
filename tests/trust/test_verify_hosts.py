"""Whatever the engine's tables and rows are like: an honest database has no findings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from step_audit.database import Connection
from step_audit.trust.verify import Report, verify, verify_dump
from tests.faults.test_hostile_metadata import EITHER, HUGE, JSON_ONLY, let_metadata_be
from tests.properties.test_verify import write_dump
from tests.support.host import (
    HOST,
    OK,
    Step,
    Transition,
    behind_our_back,
    create_steps,
    disable_own_audit,
    insert_each,
)
from tests.support.install import install_audit
from tests.support.partitions import partition_transitions
from tests.support.results import record_results
from tests.trust.world import seal


def assert_clean(report: Report, results: int, unread: int = 0) -> None:
    assert report.findings == ()
    assert report.counts.audit_rows == report.counts.results == results
    assert report.counts.compared == results
    assert report.counts.unread == unread


def verify_before_and_after_seal(conn: Connection, results: int, unread: int = 0) -> None:
    assert_clean(verify(conn, HOST.audit_schema), results, unread)
    assert seal(conn) == results
    report = verify(conn, HOST.audit_schema)
    assert_clean(report, results, unread)
    assert report.counts.leaves == results


@pytest.mark.parametrize("column", ["jsonb", "json"])
def test_hostile_metadata_is_read_as_the_trigger_read_it(conn: Connection, column: str) -> None:
    let_metadata_be(conn, column)
    hostile: list[Any] = [case.values[1] for case in EITHER if case.values[0] == column]
    assert len(hostile) >= (30 if column == "jsonb" else 30 + len(JSON_ONLY))
    steps = create_steps(conn, len(hostile))
    insert_each(
        conn,
        [
            Transition(step, each.to_state, each.metadata, 1)
            for step, each in zip(steps, hostile, strict=True)
        ],
    )
    # Nested deeper than Python follows.
    deep = sum(
        max((each.metadata or "").count(bracket) for bracket in "[{") > 1000 for each in hostile
    )
    verify_before_and_after_seal(conn, len(hostile), unread=deep)


@pytest.mark.parametrize("column", ["jsonb", "json"])
def test_an_alteration_of_odd_metadata_is_found(conn: Connection, column: str) -> None:
    let_metadata_be(conn, column)
    steps = create_steps(conn, 3)
    odd = ['{"event": "x"}', '{"b": 1, "a": [1.50, "é\\t"]}', '{"worker_uuid": 7}']
    insert_each(
        conn, [Transition(step, OK, text, 1) for step, text in zip(steps, odd, strict=True)]
    )
    seal(conn)
    with behind_our_back(conn):
        conn.execute(
            f'UPDATE {HOST.transitions} SET metadata = \'{{"b": 1, "a": [1.5, "é\\t"]}}\' '
            "WHERE workflow_step_uuid = %s".encode(),
            (steps[1].step_uuid,),
        )
    (found,) = verify(conn, HOST.audit_schema).findings
    assert found.finding == "altered record"


def test_times_with_a_zone_and_backfilled_results(host: Connection) -> None:
    record_results(host, 5)
    for column in ("created_at", "updated_at"):
        host.execute(
            f"ALTER TABLE {HOST.transitions} ALTER {column} TYPE timestamptz "
            f"USING {column} AT TIME ZONE 'UTC'".encode()
        )
    for time in ("2020-06-15 12:00:00.5+00", "0044-03-15 00:00:00 BC", "infinity", "20000-01-01"):
        (step,) = create_steps(host)
        insert_each(host, [Transition(step, OK, "{}", 1)])
        host.execute(
            f"UPDATE {HOST.transitions} SET created_at = %s WHERE workflow_step_uuid = %s".encode(),
            (time, step.step_uuid),
        )
    host.execute("SET timezone = 'Asia/Kathmandu'")
    install_audit(host)
    disable_own_audit(host)
    host.execute("CALL backfill_step_result_audit()")
    record_results(host, 4)
    verify_before_and_after_seal(host, 13)


def test_partitioned_transitions(host: Connection) -> None:
    partition_transitions(host)
    install_audit(host)
    record_results(host, 5)
    host.execute("CALL backfill_step_result_audit()")
    verify_before_and_after_seal(host, 5)
    with switched_off(host, f"{HOST.transitions}_default"):
        (found,) = verify(host, HOST.audit_schema).findings
        assert found.finding == "altered object"
        assert found.field is not None
        assert "_default" in found.field
        assert found.stored == "disabled"


FROM_A_FILE = "SERVER elsewhere OPTIONS (filename '/dev/null')"
SUBPARTITIONED = (
    "CREATE TABLE {0}_2031 PARTITION OF {0} FOR VALUES FROM ('2031-01-01') TO ('2032-01-01') "
    "PARTITION BY RANGE (created_at)"
)


@pytest.mark.parametrize(
    ("partition", "name", "stored"),
    [
        (
            "CREATE FOREIGN TABLE {0}_2030 PARTITION OF {0} "
            f"FOR VALUES FROM ('2030-01-01') TO ('2030-02-01') {FROM_A_FILE}",
            "2030",
            "a foreign table",
        ),
        (
            "CREATE FOREIGN TABLE {0}_2031_01 PARTITION OF {0}_2031 "
            f"FOR VALUES FROM ('2031-01-01') TO ('2031-02-01') {FROM_A_FILE}",
            "2031_01",
            "a foreign table",
        ),
        (
            "CREATE UNLOGGED TABLE {0}_2030 PARTITION OF {0} "
            "FOR VALUES FROM ('2030-01-01') TO ('2030-02-01')",
            "2030",
            "not permanent",
        ),
        (
            "CREATE UNLOGGED TABLE {0}_2031_01 PARTITION OF {0}_2031 DEFAULT",
            "2031_01",
            "not permanent",
        ),
    ],
)
def test_a_partition_that_is_no_plain_table_is_named(
    host: Connection, partition: str, name: str, stored: str
) -> None:
    """What it shows to whom is not in the database: to an auditor something else than to others."""
    partition_transitions(host)
    host.execute("CREATE EXTENSION file_fdw")
    host.execute("CREATE SERVER elsewhere FOREIGN DATA WRAPPER file_fdw")
    install_audit(host)
    record_results(host, 3)
    seal(host)
    keys = host.execute(
        "SELECT conname AS name FROM pg_constraint "
        "WHERE conrelid = %s::regclass AND contype IN ('p', 'f')",
        (HOST.transitions,),
    ).fetchall()
    for key in keys:
        # A foreign table can have none.
        host.execute(f"ALTER TABLE {HOST.transitions} DROP CONSTRAINT {key['name']}".encode())
    host.execute(SUBPARTITIONED.format(HOST.transitions).encode())
    assert verify(host, HOST.audit_schema).findings == ()
    host.execute(partition.format(HOST.transitions).encode())
    found = verify(host, HOST.audit_schema).findings
    named = [each for each in found if f"_{name}, a partition of" in (each.field or "")]
    assert [(each.finding, each.stored) for each in named] == [("altered object", stored)], found


@contextmanager
def switched_off(conn: Connection, table: str) -> Iterator[None]:
    conn.execute(f"ALTER TABLE {table} DISABLE TRIGGER {HOST.trigger}".encode())
    yield
    conn.execute(f"ALTER TABLE {table} ENABLE TRIGGER {HOST.trigger}".encode())


@pytest.mark.gigabytes
def test_what_cannot_be_printed_is_sealed_and_verified_and_stops_nothing(conn: Connection) -> None:
    record_results(conn, 6)
    (step,) = create_steps(conn)
    conn.execute(
        f"INSERT INTO {HOST.transitions} (workflow_step_uuid, to_state, metadata, sort_key, "
        f"workflow_step_transition_uuid, most_recent, created_at, updated_at) "
        f"SELECT %s, %s, jsonb_build_object('event', event), 1, gen_random_uuid(), FALSE, "
        f"localtimestamp, localtimestamp FROM ({HUGE}) AS huge".encode(),
        (step.step_uuid, OK),
    )
    report = verify(conn, HOST.audit_schema)
    assert report.findings == ()
    assert (report.counts.unsealed, report.counts.unprintable) == (7, 1)
    seal(conn)
    report = verify(conn, HOST.audit_schema)
    assert report.findings == ()
    assert (report.counts.leaves, report.counts.unprintable) == (7, 1)
    assert "fields of 1 results that are too large to be printed" in report.not_looked_at
    with behind_our_back(conn):
        conn.execute(
            f"UPDATE {HOST.transitions} SET metadata = metadata || '{{\"x\": 1}}' "
            "WHERE workflow_step_uuid = %s".encode(),
            (step.step_uuid,),
        )
    (found,) = verify(conn, HOST.audit_schema).findings
    assert found.finding == "altered record"


TOO_LARGE = '{"event": {"success": true}, "x": [1%s]}' % (", 1e131071" * 8300)


@pytest.mark.gigabytes
@pytest.mark.parametrize("column", ["jsonb", "json"])
def test_size_and_hash_stand_for_what_cannot_be_printed_and_for_nothing_else(
    conn: Connection, tmp_path: Path, column: str
) -> None:
    let_metadata_be(conn, column)
    steps = create_steps(conn, 2)

    def put(step: Step, metadata: str) -> None:
        change = f"UPDATE {HOST.transitions} SET metadata = %s WHERE workflow_step_uuid = %s"
        with behind_our_back(conn):
            conn.execute(change.encode(), (metadata, step.step_uuid))

    def verified(dumped: bool) -> Report:
        if not dumped:
            return verify(conn, HOST.audit_schema)
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        write_dump(conn, folder)
        return verify_dump(folder)

    insert_each(conn, [Transition(step, OK, "{}", 1) for step in steps])
    (size_and_hash,) = conn.execute(
        "SELECT payload FROM print_step_audit_payload(%s::jsonb)", (TOO_LARGE,)
    ).fetchall()
    put(steps[0], TOO_LARGE)
    put(steps[1], size_and_hash["payload"])
    assert seal(conn) == 2
    assert verified(dumped=False).findings == ()
    if column == "json":
        report = verified(dumped=True)
        assert report.findings == ()
        assert (
            "the leaves of 1 results that are sealed as unprintable: they cannot be computed "
            "without a server"
        ) in report.not_looked_at

    # The two numbers themselves, in place of what they stand for.
    put(steps[0], size_and_hash["payload"])
    for dumped in (False, True):
        assert kinds(verified(dumped)) == ["altered record"]
    # And the other way round.
    put(steps[0], TOO_LARGE)
    put(steps[1], TOO_LARGE)
    assert kinds(verified(dumped=False)) == ["altered record"]
    put(steps[1], size_and_hash["payload"])
    put(steps[0], TOO_LARGE.replace("[1,", "[2,"))
    assert kinds(verified(dumped=False)) == ["altered record"]
    if column == "json":
        # Neither printed nor held by jsonb.
        put(steps[0], TOO_LARGE.replace("[1,", '["\\u0000",'))
        for dumped in (False, True):
            assert kinds(verified(dumped)) == ["altered record"]


def kinds(report: Report) -> list[str]:
    return [each.finding for each in report.findings if each.finding != "mismatch"]
