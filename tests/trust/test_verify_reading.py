"""Reading of rows and of JSON at the client, against a server."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from psycopg import sql

from step_audit.database import Connection
from step_audit.trust import jsonb, reading
from step_audit.trust.verify.copying import copy_rows
from step_audit.trust.verify.dump.copy_text import split_fields
from tests.support.host import FAILED, OK
from tests.support.strategies import JSON_METADATA, METADATA

# Text as a database can hold it.
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12
) | st.sampled_from(
    [
        "",
        "\\N",
        "\\.",
        "\x1e",
        "\x1f",
        "\x1e\x1f",
        "\x1e\x1e",
        "a\nb",
        "\r",
        "\t",
        "\\",
        "\\\\n",
        '"',
    ]
)
ROWS = st.lists(st.none() | TEXTS, min_size=1, max_size=5)


def test_a_row_is_split_into_what_it_was_made_of(host: Connection) -> None:
    @settings(max_examples=300, deadline=None)
    @given(ROWS)
    def law(row: list[str | None]) -> None:
        values = sql.SQL(", ").join(
            sql.SQL("{}::pg_catalog.text AS c{}").format(sql.Literal(each), sql.SQL(str(place)))
            for place, each in enumerate(row)
        )
        query = sql.SQL("SELECT {}").format(values)
        expected = [None if each is None else each.encode() for each in row]
        assert list(copy_rows(host, query)) == [expected]
        with host.cursor().copy(sql.SQL("COPY ({}) TO STDOUT").format(query)) as copy:
            (line,) = [bytes(each) for each in copy]
        assert split_fields(line[:-1]) == expected

    law()


def test_leaving_a_copy_early_cancels_it_and_leaves_the_connection_usable(host: Connection) -> None:
    rows = copy_rows(host, sql.SQL("SELECT g FROM pg_catalog.generate_series(1, 100000000) AS g"))
    assert next(rows) == [b"1"]
    rows.close()
    assert host.execute("SELECT 1 AS one").fetchall() == [{"one": 1}]


def test_an_error_within_a_copy_is_raised(host: Connection) -> None:
    rows = copy_rows(
        host, sql.SQL("SELECT 10 / (3 - g) FROM pg_catalog.generate_series(1, 5) AS g")
    )
    with pytest.raises(psycopg.errors.DivisionByZero):
        list(rows)
    assert host.execute("SELECT 1 AS one").fetchall() == [{"one": 1}]


NUMBERS = st.one_of(
    st.integers().map(str),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.tuples(st.integers(-99, 99), st.integers(-17000, 132000)).map(lambda n: f"{n[0]}e{n[1]}"),
    st.sampled_from(["-0", "-0.0", "0e5", "0e-5", "1.50e1", "1e131071", "1e131072", "1e-16384"]),
)


def test_json_is_printed_as_jsonb_prints_it(host: Connection) -> None:
    documents = METADATA | JSON_METADATA | NUMBERS.map(lambda number: f'{{"b": {number}, "a": 1}}')

    @settings(max_examples=500, deadline=None)
    @given(documents.filter(lambda text: text is not None))
    @example('{"a": "\\ud800", "a": 1}')
    @example('{"a": {"b": 1e999999}, "a": {}}')
    def law(text: str) -> None:
        try:
            with host.transaction():
                (row,) = host.execute("SELECT %s::jsonb::text AS text", (text,)).fetchall()
            expected = row["text"]
        except (psycopg.DataError, psycopg.errors.FeatureNotSupported):
            expected = None
        try:
            printed = jsonb.canonical(text)
        except ValueError:
            printed = None
        assert printed == expected

    law()


def test_the_raw_values_of_anomalies_are_those_of_the_trigger(conn: Connection) -> None:
    @settings(max_examples=400, deadline=None)
    @given(st.sampled_from([OK, FAILED]), METADATA)
    def law(to_state: str, metadata: str | None) -> None:
        (row,) = conn.execute(
            "SELECT anomalies FROM read_step_result(%s, %s::jsonb)", (to_state, metadata)
        ).fetchall()
        expected = reading.read_raw_values(metadata)
        for anomaly in row["anomalies"] or []:
            if anomaly["field"] in expected:
                assert anomaly["raw_value"] == expected[anomaly["field"]]

    law()
