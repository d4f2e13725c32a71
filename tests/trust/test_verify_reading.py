"""Reading of rows and of JSON at the client, against a server."""

from __future__ import annotations

import json
import tracemalloc
from datetime import datetime, timedelta, timezone

import psycopg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from psycopg import sql

from step_audit.database import Connection
from step_audit.trust import jsonb, reading
from step_audit.trust.verify.copying import copy_rows
from step_audit.trust.verify.dump.copy_text import split_fields
from step_audit.trust.verify.fields import Stored, UnreadError, compare_metadata
from step_audit.trust.verify.question import as_copied
from step_audit.trust.verify.records import lies_between
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


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=8,
)


@given(DOCUMENTS, st.data())
def test_what_is_nested_deep_is_read_as_python_reads_what_is_not(
    document: object, data: st.DataObject
) -> None:
    text = json.dumps(document, indent=data.draw(st.none() | st.integers(0, 2)))
    at = data.draw(st.integers(0, len(text)))
    with_more = text[:at] + data.draw(st.sampled_from(list('[]{},:" 1')) | st.just("")) + text[at:]
    for each in (text, with_more, text[:at]):
        try:
            expected = jsonb._WHOLE_DECODER.decode(each)
        except ValueError:
            with pytest.raises(ValueError, match=r"."):
                jsonb._loads_deep(each)
        else:
            assert jsonb._loads_deep(each) == expected


@pytest.mark.parametrize("depth", [10, 900, 5000])
def test_json_of_any_depth_is_printed_as_jsonb_prints_it(host: Connection, depth: int) -> None:
    text = '{"b":[' * depth + '1e2,{"cc":1,"a":2}' + "]}" * depth
    (row,) = host.execute("SELECT %s::jsonb::text AS text", (text,)).fetchall()
    assert jsonb.canonical(text) == row["text"]


@given(NUMBERS)
def test_how_long_a_number_is_printed_is_known_before(number: str) -> None:
    try:
        printed = jsonb.print_number(number)
    except ValueError:
        with pytest.raises(ValueError, match="beyond numeric"):
            jsonb._measure_number(number)
    else:
        assert jsonb._measure_number(number) == len(printed)


# 160 KB, and 2.6 GB as text; nested as deep as may be.
HUGE = "[" + ",".join(["1", *["1e131071"] * 20_000]) + "]"
DEEP = "[" * 100_000 + "1e131071" + "]" * 100_000


@pytest.mark.parametrize("value", [HUGE, DEEP, json.dumps(HUGE)])
@pytest.mark.parametrize("shape", ['{"event": %s}', '{"event": {"data": {"x": %s}, "success": 7}}'])
def test_no_metadata_takes_more_memory_than_some_times_its_text(value: str, shape: str) -> None:
    text = shape % value
    stored = Stored(*[None] * 9)
    tracemalloc.start()
    try:
        assert jsonb.is_printable(text) == (value != HUGE)
        if value == HUGE:
            with pytest.raises(ValueError, match="longer than a server can print"):
                jsonb.print_pieces(text)
        else:
            assert max(map(len, jsonb.print_pieces(text))) < 200_000
        assert reading.read_raw_values(text) or value == DEEP
        compare_metadata(stored, b"enqueued_for_orchestration", text.encode(), {})
    except (RecursionError, UnreadError):
        assert value == DEEP
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 60_000_000


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


def test_no_raw_value_is_told_where_a_member_that_is_hidden_is_none_of_jsonb() -> None:
    text = r'{"worker_uuid": {"\u0000": 1}, "worker_uuid": 1e131071}'
    assert reading.read_raw_values(text) == {}
    assert reading.read_raw_values('{"worker_uuid": 1}') == {"worker_uuid": "1"}


MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)) | st.sampled_from(
    [datetime(2026, 11, 22, 10, 0, 0, part) for part in (0, 1, 10, 500_000, 120_000, 999_999)]
)
OFFSETS = st.none() | st.integers(-15, 15).map(lambda hours: timezone(timedelta(hours=hours)))


def test_a_bound_in_time_is_as_copy_prints_it(host: Connection) -> None:
    @settings(max_examples=300, deadline=None)
    @given(MOMENTS, OFFSETS)
    def law(moment: datetime, zone: timezone | None) -> None:
        query = sql.SQL("SELECT {}::pg_catalog.timestamp AS t").format(sql.Literal(moment))
        if zone:
            query = sql.SQL(
                "SELECT pg_catalog.timezone('UTC', {}::pg_catalog.timestamptz) AS t"
            ).format(sql.Literal(moment.replace(tzinfo=zone)))
        ((printed,),) = copy_rows(host, query)
        assert as_copied(moment.replace(tzinfo=zone)) == printed
        assert lies_between(printed, printed, None)
        assert not lies_between(printed, None, printed)

    host.execute("SET datestyle = ISO")
    law()
