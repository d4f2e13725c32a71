"""An UPDATE, DELETE or TRUNCATE of a worker result keeps what stood there before."""

from __future__ import annotations

from typing import Any

import pytest

from step_audit.database import Connection, call
from step_audit.trust.verify import verify
from tests.support.host import HOST, OK, Transition, create_steps, disable_own_audit, insert_each
from tests.support.install import install_audit
from tests.support.partitions import partition_transitions
from tests.support.results import record_results

CHANGES = f"{HOST.audit_schema}.step_audit_changes"
DELETED_STEPS = f"{HOST.audit_schema}.step_audit_deleted_steps"


def run(conn: Connection, statement: str, *arguments: Any) -> None:
    conn.execute(statement.encode(), arguments)


def changes(conn: Connection) -> list[dict[str, Any]]:
    return conn.execute(
        f"SELECT *, coalesce(metadata::text, metadata_json::text) AS payload FROM {CHANGES} "
        "ORDER BY step_audit_change_uuid".encode()
    ).fetchall()


def transitions(conn: Connection) -> dict[Any, dict[str, Any]]:
    rows = conn.execute(
        "SELECT *, from_state::text AS origin, to_state::text AS target, "
        f"metadata::text AS payload FROM {HOST.transitions}".encode()
    ).fetchall()
    return {row["workflow_step_transition_uuid"]: row for row in rows}


def assert_kept(change: dict[str, Any], stood: dict[str, Any], operation: str) -> None:
    assert change["operation"] == operation
    for name in ("workflow_step_transition_uuid", "workflow_step_uuid", "sort_key", "payload"):
        assert change[name] == stood[name]
    assert (change["from_state"], change["to_state"]) == (stood["origin"], stood["target"])
    assert change["recorded_by"] == "postgres"


def drop_declared_keys(conn: Connection) -> None:
    """18 refuses to truncate what a key names, even one that is not enforced."""
    for name in ("fk_audit_task", "fk_audit_step", "fk_audit_transition"):
        run(
            conn,
            f"ALTER TABLE {HOST.audit_schema}.tasker_workflow_step_result_audit "
            f"DROP CONSTRAINT IF EXISTS {name}",
        )


@pytest.fixture(autouse=True)
def engine(request: pytest.FixtureRequest) -> None:
    """An engine without an audit of its own, whose keys would be in the way."""
    if "conn" in request.fixturenames:
        disable_own_audit(request.getfixturevalue("conn"))


def test_an_update_of_evidence_keeps_the_version_before(conn: Connection) -> None:
    record_results(conn, 1)
    stood = transitions(conn)
    run(conn, f"""UPDATE {HOST.transitions} SET metadata = '{{"event": null}}'""")
    (change,) = changes(conn)
    assert_kept(change, stood[change["workflow_step_transition_uuid"]], "update")


def test_what_is_set_to_the_same_value_keeps_nothing(conn: Connection) -> None:
    record_results(conn, 2)
    run(conn, f"UPDATE {HOST.transitions} SET metadata = metadata, to_state = to_state")
    run(conn, f"UPDATE {HOST.transitions} SET most_recent = false, updated_at = now()")
    assert changes(conn) == []


def test_a_value_that_is_equal_and_prints_differently_is_a_change(conn: Connection) -> None:
    (step,) = create_steps(conn)
    insert_each(conn, [Transition(step, OK, '{"event": {"x": 1.0}}', 1)])
    run(conn, f"""UPDATE {HOST.transitions} SET metadata = '{{"event": {{"x": 1.00}}}}'""")
    (change,) = changes(conn)
    assert "1.00" not in change["payload"]


def test_a_delete_keeps_results_and_only_them(conn: Connection) -> None:
    results = record_results(conn, 3)
    stood = transitions(conn)
    assert len(stood) == 6
    run(conn, f"DELETE FROM {HOST.transitions}")
    found = changes(conn)
    assert len(found) == len(results) == 3
    for change in found:
        assert_kept(change, stood[change["workflow_step_transition_uuid"]], "delete")


def test_a_truncate_keeps_results_and_names_of_steps(conn: Connection) -> None:
    record_results(conn, 3)
    stood = transitions(conn)
    drop_declared_keys(conn)
    run(conn, f"TRUNCATE {HOST.tasks} CASCADE")
    found = changes(conn)
    assert len(found) == 3
    for change in found:
        assert_kept(change, stood[change["workflow_step_transition_uuid"]], "truncate")
    (names,) = conn.execute(
        f"SELECT count(*) AS steps, count(step_name) AS names, count(task_uuid) AS tasks "
        f"FROM {DELETED_STEPS}".encode()
    ).fetchall()
    assert names == {"steps": 3, "names": 3, "tasks": 3}


def test_a_million_rows_cost_no_more_transaction_ids_than_one(conn: Connection) -> None:
    record_results(conn, 50)
    run(conn, f"DELETE FROM {HOST.transitions}")
    assert len(changes(conn)) == 50
    assert len({change["recorded_xid"] for change in changes(conn)}) == 1


def test_a_partition_that_the_engine_makes_is_told_and_no_finding(host: Connection) -> None:
    partition_transitions(host)
    install_audit(host)
    run(
        host,
        f"CREATE TABLE {HOST.schema}.later PARTITION OF {HOST.transitions} "
        "FOR VALUES FROM ('2100-01-01') TO ('2101-01-01')",
    )
    report = verify(host, HOST.audit_schema)
    assert report.findings == ()
    told = [remark for remark in report.remarks if "trg_step_audit_truncate" in remark]
    assert [".later has no trg_step_audit_truncate" in remark for remark in told] == [True]
    (health,) = call(host, HOST.audit_schema, "get_step_audit_health")
    assert health["attached"]
    assert any("trg_step_audit_truncate" in problem for problem in health["problems"])
    call(host, HOST.audit_schema, "attach_step_result_audit")
    (health,) = call(host, HOST.audit_schema, "get_step_audit_health")
    assert health["problems"] is None


def test_a_truncate_of_one_partition_keeps_its_results(host: Connection) -> None:
    partition_transitions(host)
    install_audit(host)
    results = record_results(host, 2)
    for row in host.execute(
        "SELECT relid::regclass::text AS name FROM pg_partition_tree(%s::regclass) WHERE isleaf",
        (HOST.transitions,),
    ).fetchall():
        run(host, f"TRUNCATE {row['name']}")
    kept = changes(host)
    assert {each["operation"] for each in kept} == {"truncate"}
    assert len(kept) == len(results)
