"""A result that stands twice under one key: of the two, one was put there by somebody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from step_audit.database import Connection
from step_audit.trust.signing import make_checkpoint
from step_audit.trust.verify import Signed, verify, verify_dump
from step_audit.trust.verify.tables import OWN
from tests.properties.test_verify import write_dump
from tests.support.host import (
    HOST,
    OK,
    Transition,
    behind_our_back,
    create_steps,
    disable_own_audit,
    insert_each,
)
from tests.support.install import install_audit
from tests.support.partitions import partition_transitions
from tests.support.results import record_results
from tests.support.sealed import SIGNER
from tests.trust.attacks import AUDIT, LEAVES, unguarded
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
    with behind_our_back(conn):
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


# A forged result and its audit row, which stands under the key of another row.
FORGE_RESULT = f"""
INSERT INTO {HOST.transitions} ({HOST.columns}, created_at)
SELECT gen_random_uuid(), workflow_step_uuid, from_state, to_state,
'{{"event": {{"data": {{"success": true}}}}}}', sort_key + 100, FALSE, created_at
FROM {HOST.transitions}
WHERE to_state = '{OK}' LIMIT 1
RETURNING workflow_step_transition_uuid AS transition, workflow_step_uuid AS step
"""
FORGE_ROW = f"""
INSERT INTO {AUDIT} ({{columns}})
SELECT {{values}} FROM {AUDIT}
WHERE workflow_step_uuid = %(step)s AND success LIMIT 1
RETURNING workflow_step_result_audit_uuid AS audit
"""
FORGED = {"workflow_step_transition_uuid": "%(transition)s", "worker_uuid": "NULL"}
COLUMNS = [name for name in OWN[AUDIT] if name != "execution_time_ms"]
FORGE_ROW = FORGE_ROW.format(
    columns=", ".join(COLUMNS), values=", ".join(FORGED.get(name, name) for name in COLUMNS)
)


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("verified_before", [True, False])
def test_a_forged_row_under_the_key_of_another_is_named(
    conn: Connection, tmp_path: Path, sealed: bool, verified_before: bool
) -> None:
    """One of the two is as it was sealed: that says nothing of the other."""
    record_results(conn, 3)
    if sealed:
        seal(conn)
    checkpoint = make_checkpoint(conn, HOST.audit_schema, SIGNER.to_text()).checkpoint
    signed = Signed(checkpoint, checkpoint) if verified_before else None
    with conn.transaction(), unguarded(conn):
        conn.execute(f"ALTER TABLE {AUDIT} DROP CONSTRAINT pk_audit".encode())
        (result,) = conn.execute(FORGE_RESULT.encode()).fetchall()
        (row,) = conn.execute(FORGE_ROW.encode(), result).fetchall()
    write_dump(conn, tmp_path)
    named = ("doubled", result["transition"], row["audit"])
    for report in (
        verify(conn, HOST.audit_schema, signed=signed),
        verify_dump(tmp_path, signed=signed),
    ):
        found = [
            (
                each.finding,
                each.workflow_step_transition_uuid,
                each.workflow_step_result_audit_uuid,
            )
            for each in report.findings
        ]
        assert named in found
        # It is known which: no index hides it.
        assert "hidden record" not in {kind for kind, *_ in found}
        if sealed and not verified_before:
            assert ("altered record", None, row["audit"]) in found


@pytest.mark.parametrize("verified_before", [True, False])
def test_a_second_leaf_of_a_record_is_named(
    conn: Connection, tmp_path: Path, verified_before: bool
) -> None:
    record_results(conn, 3)
    seal(conn)
    checkpoint = make_checkpoint(conn, HOST.audit_schema, SIGNER.to_text()).checkpoint
    signed = Signed(checkpoint, checkpoint) if verified_before else None
    with conn.transaction(), unguarded(conn):
        conn.execute(f"ALTER TABLE {LEAVES} DROP CONSTRAINT uq_step_audit_leaf_record".encode())
        (leaf,) = conn.execute(
            f"UPDATE {LEAVES} SET record_uuid = (SELECT record_uuid FROM {LEAVES} WHERE "
            "leaf_index = 0) WHERE leaf_index = 2 RETURNING record_uuid".encode()
        ).fetchall()
    write_dump(conn, tmp_path)
    for report in (
        verify(conn, HOST.audit_schema, signed=signed),
        verify_dump(tmp_path, signed=signed),
    ):
        found = [(each.finding, each.workflow_step_result_audit_uuid) for each in report.findings]
        assert ("doubled", leaf["record_uuid"]) in found
