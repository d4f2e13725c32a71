"""Rows that move between partitions, one by one or with the whole table: the result stays one."""

from __future__ import annotations

from collections import Counter

import pytest

from step_audit.database import Connection, call
from tests.lifecycle.test_changes import changes, run, transitions
from tests.lifecycle.test_cleanup import seal
from tests.lifecycle.test_sealed_changes import found
from tests.support.host import HOST, Transition
from tests.support.install import install_audit
from tests.support.partitions import partition_transitions
from tests.support.results import record_results

EVENTS = f"{HOST.audit_schema}.step_audit_events"
RESULTS = "to_state LIKE 'enqueued_%%'"
OLD = f"{HOST.transitions}_default"


@pytest.fixture
def partitioned(host: Connection) -> Connection:
    partition_transitions(host)
    install_audit(host)
    return host


def operations(conn: Connection) -> Counter[str]:
    return Counter(each["operation"] for each in changes(conn))


def came_again(conn: Connection) -> int:
    return conn.execute(f"SELECT FROM {EVENTS} WHERE kind = 'result came again'".encode()).rowcount


def standing_in(conn: Connection, table: str) -> int:
    return conn.execute(f"SELECT FROM ONLY {table}".encode()).rowcount


def assert_read_as_one(conn: Connection, results: list[Transition]) -> None:
    """Each result is read once, as it stands."""
    shown = call(conn, HOST.audit_schema, "list_step_audits", p_limit=None)
    assert Counter(row["workflow_step_transition_uuid"] for row in shown) == Counter(
        result.transition_uuid for result in results
    )
    assert not any(row["deleted"] for row in shown)


def record(conn: Connection) -> list[Transition]:
    """Three results, one of them sealed."""
    first = record_results(conn, 1)
    assert seal(conn) == 1
    return [*first, *record_results(conn, 2)]


@pytest.mark.parametrize("change", ["", """, metadata = '{"event": null}'"""])
def test_an_update_of_the_partition_key_moves_the_row(partitioned: Connection, change: str) -> None:
    results = record(partitioned)
    stood = transitions(partitioned)
    run(partitioned, f"UPDATE {HOST.transitions} SET created_at = '2020-01-15'{change}")
    assert standing_in(partitioned, f"{HOST.transitions}_2020_01") == 6
    assert operations(partitioned) == {"delete": 3, "insert": 3}
    for each in changes(partitioned):
        if each["operation"] == "delete":
            assert each["payload"] == stood[each["workflow_step_transition_uuid"]]["payload"]
    assert came_again(partitioned) == 3
    assert found(partitioned) == []
    assert seal(partitioned) == 2 + 9
    assert found(partitioned) == []
    assert_read_as_one(partitioned, results)
    # And back.
    run(partitioned, f"UPDATE {HOST.transitions} SET created_at = '2040-01-15'")
    assert standing_in(partitioned, OLD) == 6
    assert found(partitioned) == []
    seal(partitioned)
    assert found(partitioned) == []
    assert_read_as_one(partitioned, results)


def test_what_an_update_leaves_in_its_partition_keeps_no_insert(partitioned: Connection) -> None:
    record_results(partitioned, 3)
    run(partitioned, f"UPDATE {HOST.transitions} SET created_at = '2040-01-15'")
    assert operations(partitioned) == {"update": 3}
    assert came_again(partitioned) == 0
    seal(partitioned)
    assert found(partitioned) == []


@pytest.mark.parametrize("end", ["TRUNCATE {old}; DROP TABLE {old}", "DROP TABLE {old}"])
@pytest.mark.parametrize("at_once", [True, False], ids=["one transaction", "step by step"])
def test_a_host_that_is_partitioned_anew(partitioned: Connection, end: str, at_once: bool) -> None:
    results = record(partitioned)
    steps = [
        f"ALTER TABLE {HOST.transitions} DETACH PARTITION {OLD}",
        f"CREATE TABLE {HOST.transitions}_now PARTITION OF {HOST.transitions} "
        "FOR VALUES FROM ('2021-01-01') TO ('2100-01-01')",
        f"INSERT INTO {HOST.transitions} SELECT * FROM {OLD}",
        *end.format(old=OLD).split("; "),
    ]
    if at_once:
        with partitioned.transaction():
            for each in steps:
                run(partitioned, each)
    else:
        for each in steps:
            run(partitioned, each)
            if "DETACH" in each:
                # As long as no table of the engine's has them.
                assert found(partitioned) == ["altered record", *["extra"] * 3]
            seal(partitioned)
    call(partitioned, HOST.audit_schema, "attach_step_result_audit")
    assert standing_in(partitioned, f"{HOST.transitions}_now") == 6
    expected = {"insert": 3} | ({"truncate": 3} if "TRUNCATE" in end else {})
    assert operations(partitioned) == expected
    assert came_again(partitioned) == 3
    assert found(partitioned) == []
    seal(partitioned)
    assert found(partitioned) == []
    assert_read_as_one(partitioned, results)
