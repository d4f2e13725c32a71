"""A result that stands twice under one key: of the two, one was put there by somebody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from step_audit.database import Connection
from step_audit.trust.verify import verify, verify_dump
from tests.properties.test_verify import write_dump
from tests.support.host import HOST, OK, Transition, create_steps, disable_own_audit, insert_each
from tests.support.install import install_audit
from tests.support.partitions import partition_transitions
from tests.support.results import record_results
from tests.trust.world import seal

KEY = f"{HOST.relation('tasker_workflow_step_transitions')}_pkey"
NO_KEY = "the engine has no unique key on workflow_step_transition_uuid"


def test_a_forged_twin_of_a_result_is_named(host: Connection, tmp_path: Path) -> None:
    """The engine's role can write one: the key of partitions has the time in it."""
    disable_own_audit(host)
    partition_transitions(host)
    install_audit(host)
    (step,) = create_steps(host)
    for number in range(3):
        insert_each(host, [Transition(step, OK, f'{{"n": {number}}}', number)])
    seal(host)
    assert verify(host, HOST.audit_schema).findings == ()
    (twin,) = host.execute(
        f"INSERT INTO {HOST.transitions} ({HOST.columns}, created_at) "
        "SELECT workflow_step_transition_uuid, workflow_step_uuid, from_state, to_state, "
        f"'{{\"n\": \"forged\"}}', sort_key + 100, FALSE, '2020-01-15' FROM {HOST.transitions} "
        "WHERE sort_key = 1 RETURNING workflow_step_transition_uuid AS key".encode()
    ).fetchall()
    write_dump(host, tmp_path)
    for report in (verify(host, HOST.audit_schema), verify_dump(tmp_path)):
        found = [
            (each.finding, each.workflow_step_transition_uuid)
            for each in report.findings
            if each.finding == "doubled"
        ]
        assert found == [("doubled", twin["key"])]


def test_steps_without_a_unique_key_are_told(conn: Connection) -> None:
    no_key = "the engine has no unique key on workflow_step_uuid"
    assert no_key not in " ".join(verify(conn, HOST.audit_schema).remarks)
    (key,) = conn.execute(
        "SELECT conname AS name FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'p'",
        (HOST.steps,),
    ).fetchall()
    conn.execute(f"ALTER TABLE {HOST.steps} DROP CONSTRAINT {key['name']} CASCADE".encode())
    assert no_key in " ".join(verify(conn, HOST.audit_schema).remarks)


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_twin_that_is_no_result_is_named_and_hides_nothing(
    conn: Connection, tmp_path: Path, sealed: bool, is_first: bool
) -> None:
    """Whichever of the two is read first."""
    record_results(conn, 3)
    if sealed:
        seal(conn)
    assert NO_KEY not in " ".join(verify(conn, HOST.audit_schema).remarks)
    conn.execute(f"ALTER TABLE {HOST.transitions} DROP CONSTRAINT {KEY} CASCADE".encode())
    conn.execute(
        f"INSERT INTO {HOST.transitions} ({HOST.columns}, created_at) "
        "SELECT workflow_step_transition_uuid, workflow_step_uuid, from_state, 'complete', "
        f"'{{}}', sort_key + 100, FALSE, created_at FROM {HOST.transitions} "
        f"WHERE to_state = '{OK}'".encode()
    )
    results = conn.execute(
        f"SELECT workflow_step_transition_uuid AS key FROM {HOST.transitions} "
        f"WHERE to_state = '{OK}' ORDER BY 1".encode()
    ).fetchall()
    if is_first:
        # A row's new version lies behind all others.
        conn.execute(
            f"UPDATE {HOST.transitions} SET most_recent = most_recent "
            f"WHERE to_state = '{OK}'".encode()
        )
    assert len(results) >= 2
    write_dump(conn, tmp_path)
    report, of_the_dump = verify(conn, HOST.audit_schema), verify_dump(tmp_path)
    assert NO_KEY in " ".join(report.remarks)
    for each in (report, of_the_dump):
        found = [
            (one.finding, one.workflow_step_transition_uuid)
            for one in each.findings
            if one.finding != "missing object"
        ]
        assert sorted(found) == [("doubled", result["key"]) for result in results]
        assert each.counts.compared == each.counts.audit_rows == 3


def test_where_neither_fits_what_each_lacks_is_named(conn: Connection) -> None:
    record_results(conn, 1)
    seal(conn)
    conn.execute(
        f"ALTER TABLE {HOST.transitions} DROP CONSTRAINT {KEY} CASCADE; "
        f"UPDATE {HOST.transitions} SET from_state = 'pending' WHERE to_state = '{OK}'; "
        f"INSERT INTO {HOST.transitions} ({HOST.columns}, created_at) "
        "SELECT workflow_step_transition_uuid, workflow_step_uuid, from_state, 'complete', "
        f"'{{}}', sort_key + 100, FALSE, created_at FROM {HOST.transitions} "
        f"WHERE to_state = '{OK}'".encode()
    )
    kinds = [each.finding for each in verify(conn, HOST.audit_schema).findings]
    assert kinds.count("doubled") == 1
    assert kinds.count("altered record") == 2
