"""Law: each reader gives what the oracle gives, for whatever metadata, and never raises."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings

from step_audit.database import Connection
from tests.support import oracle
from tests.support.host import FAILED, OK
from tests.support.strategies import METADATA


def as_they_are(metadata: str | None) -> str | None:
    return metadata


def with_long_events(metadata: str | None) -> str | None:
    """The same, but for spaces before an event that is a text."""
    document = oracle.loads(metadata) if metadata else None
    if not isinstance(document, dict) or type(document.get("event")) is not str:
        return metadata
    return json.dumps(json.loads(metadata or "") | {"event": " " * 5000 + document["event"]})


@pytest.mark.parametrize(
    ("reader", "change"),
    [
        ("read_step_result", as_they_are),
        ("read_step_result", with_long_events),
        ("read_odd_step_result", as_they_are),
    ],
)
@pytest.mark.parametrize("to_state", [OK, FAILED])
def test_the_reader_equals_the_oracle(
    conn: Connection, to_state: str, reader: str, change: Callable[[str | None], str | None]
) -> None:
    @settings(max_examples=1000)
    @given(METADATA.map(change))
    def law(metadata: str | None) -> None:
        expected = oracle.read(to_state, metadata)
        row = conn.execute(
            "SELECT r.*, "
            "(SELECT coalesce(jsonb_object_agg(a ->> 'field', a ->> 'reason'), '{}') "
            "FROM jsonb_array_elements(r.anomalies) AS a) AS anomalies "
            f"FROM {reader}(%s, %s) AS r".encode(),
            (to_state, metadata),
        ).fetchone()
        assert row == vars(expected)

    law()


def test_the_result_is_json_with_the_same_meaning(conn: Connection) -> None:
    @settings(max_examples=500)
    @given(METADATA)
    def law(metadata: str | None) -> None:
        row = conn.execute("SELECT get_step_result(%s)::text AS text", (metadata,)).fetchone()
        assert row is not None
        expected = oracle.result_document(metadata)
        assert (None if row["text"] is None else oracle.loads(row["text"])) == expected

    law()
