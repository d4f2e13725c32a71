"""A result that stands twice under one key: of the two, one was put there by somebody else."""

from __future__ import annotations

from pathlib import Path

from step_audit.database import Connection
from step_audit.trust.verify import verify, verify_dump
from tests.properties.test_verify import write_dump
from tests.support.host import HOST, OK, Transition, create_steps, disable_own_audit, insert_each
from tests.support.install import install_audit
from tests.support.partitions import partition_transitions
from tests.trust.world import seal


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
