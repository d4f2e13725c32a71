"""A result whose metadata prints to over a gigabyte: it takes a minute to try."""

from __future__ import annotations

import pytest

from step_audit.database import Connection
from tests.faults.test_hostile_metadata import let_metadata_be
from tests.lifecycle.test_changes import engine, run  # noqa: F401 (a fixture)
from tests.lifecycle.test_sealed_changes import CHANGES, behind_our_back, found, seal
from tests.support.host import HOST, OK, Transition, create_steps, insert_each

TOO_LARGE = '{"event": {"success": true}, "x": [1%s]}' % (", 1e131071" * 8300)


@pytest.mark.gigabytes
@pytest.mark.parametrize(
    ("column", "what", "sealed_first"), [("jsonb", "UPDATE", False), ("json", "DELETE", True)]
)
def test_a_result_that_cannot_be_printed_stops_nothing(
    conn: Connection, column: str, what: str, sealed_first: bool
) -> None:
    let_metadata_be(conn, column)
    steps = create_steps(conn, 3)
    texts = ['{"event": {}}', TOO_LARGE, '{"event": {"success": false}}']
    insert_each(
        conn, [Transition(step, OK, text, 1) for step, text in zip(steps, texts, strict=True)]
    )
    if sealed_first:
        seal(conn)
    if what == "DELETE":
        run(conn, f"DELETE FROM {HOST.transitions}")
    else:
        run(conn, f"UPDATE {HOST.transitions} SET sort_key = 2")
    assert found(conn) == []
    assert seal(conn)["tree_size"] == 6
    assert found(conn) == []
    behind_our_back(conn, CHANGES, f"UPDATE {CHANGES} SET recorded_by = 'me'")
    assert found(conn) == ["altered record"] * 3
