"""Law: whatever is written and however, each result has exactly one right audit row."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from step_audit.database import Connection
from tests.support.audit import audit_rows, expected_rows, play
from tests.support.host import create_steps
from tests.support.strategies import histories


def test_each_result_has_one_audit_row_with_the_oracles_values(conn: Connection) -> None:
    steps = create_steps(conn, 3)

    @given(st.data())
    def law(data: st.DataObject) -> None:
        history = data.draw(histories(steps))
        with conn.transaction(force_rollback=True):
            kept = play(conn, history)
            assert audit_rows(conn) == expected_rows(kept)

    law()
