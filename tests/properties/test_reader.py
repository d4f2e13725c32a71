"""Law: each reader gives what the oracle gives, for whatever metadata, and never raises."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from step_audit.database import Connection
from step_audit.trust import reading as oracle
from step_audit.trust.jsonb import loads
from tests.support.host import FAILED, OK
from tests.support.strategies import JSON_METADATA, METADATA, VALUES


def as_they_are(metadata: str | None) -> str | None:
    return metadata


def with_long_events(metadata: str | None) -> str | None:
    """The same, but for spaces before an event that is a text."""
    return metadata and metadata.replace('"event": "', '"event": "' + " " * 5000)


HELD = {"jsonb": METADATA, "json": JSON_METADATA}


@pytest.mark.parametrize("column", HELD)
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
    conn: Connection,
    to_state: str,
    reader: str,
    change: Callable[[str | None], str | None],
    column: str,
) -> None:
    @settings(max_examples=400)
    @given(HELD[column].map(change))
    def law(metadata: str | None) -> None:
        expected = oracle.read(to_state, metadata)
        row = conn.execute(
            "SELECT r.*, "
            "(SELECT coalesce(jsonb_object_agg(a ->> 'field', a ->> 'reason'), '{}') "
            "FROM jsonb_array_elements(r.anomalies) AS a) AS anomalies "
            f"FROM {reader}(%s, %s::{column}) AS r".encode(),
            (to_state, metadata),
        ).fetchone()
        assert row == vars(expected)

    law()


@pytest.mark.parametrize("column", HELD)
def test_the_result_is_json_with_the_same_meaning(conn: Connection, column: str) -> None:
    @settings(max_examples=300)
    @given(HELD[column])
    def law(metadata: str | None) -> None:
        row = conn.execute(
            f"SELECT get_step_result(%s::{column})::text AS text".encode(), (metadata,)
        ).fetchone()
        assert row is not None
        expected = oracle.result_document(metadata, column)
        assert (None if row["text"] is None else loads(row["text"])) == expected

    law()


def test_a_value_is_cut_as_its_whole_text_would_be(conn: Connection) -> None:
    @settings(max_examples=300)
    @given(VALUES, st.integers(0, 40))
    def law(value: str, length: int) -> None:
        row = conn.execute(
            "SELECT cut_json_value(v, n) AS cut, left(v::text, n) AS expected "
            "FROM (SELECT %s::jsonb AS v, %s::int AS n) AS given",
            (value, length),
        ).fetchone()
        assert row is not None
        assert row["cut"] == row["expected"]

    law()
