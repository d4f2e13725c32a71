"""What an owner can do to the planner of whoever reads his tables."""

from __future__ import annotations

import pytest

from step_audit.database import Connection
from step_audit.trust.verify import verify
from tests.support.host import HOST, disable_own_audit
from tests.support.results import record_results
from tests.trust.world import seal

AUDIT = "tasker_workflow_step_result_audit"
LIE = "CREATE OR REPLACE FUNCTION f(n int) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT {}'"


@pytest.mark.parametrize(
    ("table", "column"),
    [
        (AUDIT, "workflow_step_result_audit_uuid"),
        (AUDIT, "workflow_step_transition_uuid"),
        ("step_audit_leaves", "leaf_index"),
    ],
)
def test_an_index_that_hides_rows_hides_no_extra_one(
    conn: Connection, table: str, column: str
) -> None:
    disable_own_audit(conn)
    record_results(conn, 300)
    seal(conn)
    conn.execute(LIE.format("FALSE").encode())
    conn.execute(f"CREATE INDEX lie ON {table} ({column}) WHERE f(1)".encode())
    conn.execute(LIE.format("TRUE").encode())
    conn.execute(
        f"DELETE FROM {HOST.transitions} WHERE workflow_step_transition_uuid = "
        f"(SELECT min(workflow_step_transition_uuid::text)::uuid FROM {AUDIT})".encode()
    )
    conn.execute("ANALYZE")
    found = verify(conn, HOST.audit_schema).findings
    assert "extra" in {each.finding for each in found}
    names = [each.field for each in found if each.finding == "foreign object"]
    assert f"index lie on {table}" in names
