"""Law: whatever is written and however, each result has exactly one right audit row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step_audit.database import Connection
from step_audit.setup import installer
from step_audit.setup.script import Target
from tests.support.audit import audit_rows, expected_rows, play
from tests.support.host import HOST, create_steps
from tests.support.strategies import histories


@pytest.mark.parametrize("column", ["jsonb", "json"])
def test_each_result_has_one_audit_row_with_the_oracles_values(
    conn: Connection, column: str
) -> None:
    if column == "json":
        installer.detach(conn, HOST.audit_schema, "5s")
        conn.execute(
            f"ALTER TABLE {HOST.transitions} "
            "ALTER metadata DROP DEFAULT, ALTER metadata TYPE json".encode()
        )
        installer.attach(conn, HOST.audit_schema, Target())
    steps = create_steps(conn, 3)

    @given(st.data())
    def law(data: st.DataObject) -> None:
        history = data.draw(histories(steps))
        with conn.transaction(force_rollback=True):
            kept = play(conn, history)
            assert audit_rows(conn) == expected_rows(kept)

    law()
