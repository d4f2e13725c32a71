"""A log that names leaves or sizes that cannot be is told at once, however large they are."""

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


def test_a_seal_of_another_place_says_what_was_not_looked_at(conn: Connection) -> None:
    """Transaction ids tell what was inserted behind a seal only where it was made."""
    record_results(conn, 9)
    seal(conn)
    assert not [each for each in verify(conn, HOST.audit_schema).not_looked_at if "behind" in each]
    conn.execute("ALTER TABLE step_audit_seals DISABLE TRIGGER trg_append_only")
    conn.execute("UPDATE step_audit_seals SET place = 'elsewhere'")
    conn.execute("ALTER TABLE step_audit_seals ENABLE ALWAYS TRIGGER trg_append_only")
    report = verify(conn, HOST.audit_schema)
    assert [each for each in report.not_looked_at if "behind a seal" in each]
