"""A log that names leaves or sizes that cannot be is told at once, however large the numbers are."""

from __future__ import annotations

import uuid

import pytest

from step_audit.database import Connection
from step_audit.trust.verify import verify
from tests.support.host import HOST
from tests.support.results import record_results
from tests.trust.world import seal


def forge(conn: Connection, size: int | None, leaf: int | None) -> None:
    """Write a seal of this size and a leaf at this index past the guards."""
    if size is not None:
        conn.execute(
            "INSERT INTO step_audit_seals (tree_size, covered, place) SELECT %s, covered, place "
            "FROM step_audit_seals ORDER BY tree_size DESC LIMIT 1",
            (size,),
        )
    if leaf is not None:
        conn.execute(
            "INSERT INTO step_audit_leaves VALUES (%s, 'result', %s, sha256('x'))",
            (leaf, uuid.UUID(int=leaf % 2**64)),
        )


@pytest.mark.parametrize(
    ("size", "leaf", "expected"),
    [
        (2**40, None, {"missing leaf"}),
        (2**40, 2**40 - 1, {"missing leaf", "unsealed leaf"}),
        (2**62, 2**40, {"missing leaf", "unsealed leaf"}),
        (None, 2**62, {"unsealed leaf"}),
        (None, -1, {"unsealed leaf"}),
    ],
)
def test_forged_sizes_and_indexes_are_named_at_once(
    conn: Connection, size: int | None, leaf: int | None, expected: set[str]
) -> None:
    record_results(conn, 9)
    seal(conn)
    assert verify(conn, HOST.audit_schema).findings == ()
    conn.execute("SET statement_timeout = '20s'")
    forge(conn, size, leaf)
    found = {finding.finding for finding in verify(conn, HOST.audit_schema).findings}
    assert expected <= found <= {*expected, "deleted record", "altered log"}
