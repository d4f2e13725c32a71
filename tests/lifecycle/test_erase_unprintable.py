"""A result that prints to over a gigabyte is erased as others are: it takes a minute to try."""

from __future__ import annotations

import pytest

from step_audit.database import Connection
from tests.faults.test_hostile_metadata import let_metadata_be
from tests.lifecycle.test_changes import changes, engine, run  # noqa: F401 (a fixture)
from tests.lifecycle.test_erase import SALTS, erase, metadata_of, record, rows
from tests.lifecycle.test_sealed_changes import seal
from tests.lifecycle.test_unprintable import TOO_LARGE
from tests.support.host import HOST


@pytest.mark.gigabytes
@pytest.mark.parametrize("column", ["jsonb", "json"])
def test_what_cannot_be_printed_is_erased(conn: Connection, column: str) -> None:
    let_metadata_be(conn, column)
    result = record(conn, TOO_LARGE)
    seal(conn)
    run(conn, f"UPDATE {HOST.transitions} SET sort_key = 2")
    seal(conn)
    assert [
        each["kind"]
        for each in rows(conn, f"SELECT kind FROM {HOST.audit_schema}.step_audit_leaves")
    ] == [
        "unprintable result",
        "unprintable change",
    ]
    assert erase(conn, result) == 2
    assert metadata_of(conn, result) is None
    assert [each["payload"] for each in changes(conn)] == [None]
    assert rows(conn, f"SELECT FROM {SALTS}") == []
