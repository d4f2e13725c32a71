"""The small functions below the reader: escapes, states, keys."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from step_audit.database import Connection
from step_audit.trust import reading as oracle
from step_audit.trust.jsonb import loads
from tests.support.host import FAILED, OK, STATES, real_transitions

# Texts of JSON and of almost JSON, rich in backslashes, escapes and the marks that stand for them.
_PIECES = st.sampled_from(
    r'\ \\ \u0000 \ud83d \ude00 \u00e9 \u005c \u0041 \u12 u \n 0 1 \\0 \\1 é a "'.split()
)
_INSIDES = st.lists(_PIECES | st.sampled_from("\x01 "), max_size=8).map("".join)

# JSON objects as text, rich in outputs, members of the same name and marks inside strings.
_KEYS = st.sampled_from(
    ["result", "result", "status", "success", "data", 'x"result', 'x"status', "é", "result\\"]
)
_SCALARS = st.sampled_from(
    ["null", "true", "-1.5", "1e3", '""', '"é"', '"a, b}"', '"}}"', r'"\"result\":1"', r'"\u0000"']
)
_SPACES = st.sampled_from(["", "", " "])


def _objects(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.lists(st.tuples(_KEYS, _SPACES, values), max_size=4)
    return st.builds(
        lambda pairs, space: (
            "{"
            + f",{space}".join(f"{json.dumps(k, ensure_ascii=False)}:{s}{v}" for k, s, v in pairs)
            + "}"
        ),
        members,
        _SPACES,
    )


_EVENTS = _objects(
    st.recursive(
        _SCALARS,
        lambda inner: (
            _objects(inner) | st.lists(inner, max_size=2).map(lambda v: f"[{','.join(v)}]")
        ),
        max_leaves=8,
    )
)
_CUT_EVENTS = st.tuples(_EVENTS, st.integers(0, 200), st.integers(0, 3)).map(
    lambda cut: cut[0][: cut[1]] + cut[0][cut[1] + cut[2] :]
)


def without_outputs(value: Any) -> Any:
    """The document with null for each member whose text ends in the mark of an output."""
    if isinstance(value, dict):
        return {
            key: None if key == "result" or key.endswith('"result') else without_outputs(member)
            for key, member in value.items()
        }
    return [without_outputs(member) for member in value] if isinstance(value, list) else value


def is_json(conn: Connection, text: str) -> bool:
    try:
        with conn.transaction():
            conn.execute("SELECT %s::json", (text,))
    except psycopg.errors.InvalidTextRepresentation:
        return False
    return True


def test_protected_json_is_json_if_it_was_and_can_be_searched_and_restored(
    conn: Connection,
) -> None:
    @given(_INSIDES)
    @example("\\\\u0000")
    @example("\\\\\\u0000")
    @example("\x01\\\\")
    @example("\\uZZZZ\\u0000")
    def law(inside: str) -> None:
        text = f'{{"other": "{inside}", "wanted": ["{inside}", 1]}}'
        protected = conn.execute("SELECT protect_json_escapes(%s) AS p", (text,)).fetchone()
        assert protected is not None
        assert is_json(conn, protected["p"]) == is_json(conn, text)
        if is_json(conn, text):
            found = conn.execute(
                "SELECT restore_json_escapes(%(p)s) AS whole, "
                "restore_json_escapes((%(p)s::json -> 'wanted')::text) AS part, "
                "%(p)s::json #>> '{wanted,1}' AS one",
                protected,
            ).fetchone()
            assert found == {"whole": text, "part": f'["{inside}", 1]', "one": "1"}

    law()


def test_an_event_without_its_output_is_json_if_it_was_and_else_the_same(conn: Connection) -> None:
    @given(_EVENTS | _CUT_EVENTS)
    @example("")
    @example('{"a":1,"result":1,"status":2,"result":3,"status":4}')
    @example('{"a":1,"status":2,"result":3}')
    @example('{"data":{"x":1,"result":1},"data":{"result":[],"status":"c"}}')
    def law(event: str) -> None:
        row = conn.execute("SELECT drop_event_result(%s) AS text", (event,)).fetchone()
        assert row is not None
        assert is_json(conn, row["text"]) == is_json(conn, event)
        if is_json(conn, event):
            dropped, kept = loads(row["text"]), loads(event)
            assert without_outputs(dropped) == without_outputs(kept)

    law()


def test_the_output_of_a_real_event_is_dropped(conn: Connection) -> None:
    event = json.loads(real_transitions()[4]["metadata"]["event"])
    assert event["data"]["result"]
    text = json.dumps(event, separators=(",", ":"))
    row = conn.execute("SELECT drop_event_result(%s) AS text", (text,)).fetchone()
    expected = event | {"data": event["data"] | {"result": None}}
    assert row is not None
    assert json.loads(row["text"]) == expected


def test_an_output_nested_past_the_stack_is_left_to_the_reader(conn: Connection) -> None:
    event = '{"a":1,"result":' + "[" * 100_000 + ',"status":1}'
    row = conn.execute("SELECT drop_event_result(%s) AS text", (event,)).fetchone()
    assert row == {"text": event}


_LONG = "é" * 3000


@pytest.mark.parametrize(
    "output",
    [
        f'{{"k":"{_LONG}"}}',
        f'["\\u0000","\\ud800","{_LONG}"]',
        f'[1e1000000,"{_LONG}"]',
        f'"{_LONG}, \\"success\\":false}}"',
        f'{{"k":1,"status":"{_LONG}"}}',
        f'"{_LONG}, \\"status\\":\\",\\"status\\":"',
        f'{{"k":"{_LONG}"',
        f'{{"k":"{_LONG}\\u"}}',
        f'1,"metadata":{{"execution_time_ms":99}},"k":"{_LONG}"',
        f'{{"result":{{}}}}}},"data":{{"success":"no","k":["{_LONG}"]',
        f'1}},"k":"{_LONG}","data":{{"result":{{}}',
    ],
)
@pytest.mark.parametrize("tail", ['"status":"completed","success":true}}', '"success":"?"}}}', "1"])
def test_a_long_event_is_read_like_a_short_one(conn: Connection, output: str, tail: str) -> None:
    text = f'{{"type":"E","data":{{"metadata":{{"execution_time_ms":12}},"result":{output},{tail}'
    metadata = json.dumps({"event": text})
    expected = oracle.read(FAILED, metadata)
    row = conn.execute(
        "SELECT r.*, (SELECT coalesce(jsonb_object_agg(a ->> 'field', a ->> 'reason'), '{}') "
        "FROM jsonb_array_elements(r.anomalies) AS a) AS anomalies "
        "FROM read_step_result(%s, %s::jsonb) AS r",
        (FAILED, metadata),
    ).fetchone()
    assert row == vars(expected)


@pytest.mark.parametrize(
    "call",
    [
        "is_worker_result(to_state)",
        "protect_json_escapes(to_state)",
        "restore_json_escapes(to_state)",
        "format_step_audit_leaf("
        "to_state, 1, u, u, u, u, n, u, u, TRUE, TRUE, 1, n, n, 1, "
        "u, to_state, to_state, n, '\\x00'::bytea)",
        "commit_step_audit_payload('\\x00'::bytea, to_state, to_state)",
    ],
)
def test_a_small_function_is_put_into_the_query_of_its_callers(conn: Connection, call: str) -> None:
    def output() -> str:
        plan = conn.execute(
            f"EXPLAIN (VERBOSE, COSTS OFF) SELECT {call} FROM ("
            "SELECT workflow_step_uuid AS u, created_at AS n, to_state::text, metadata "
            "FROM tasker_workflow_step_transitions) AS t".encode()
        )
        return str(next(r["QUERY PLAN"] for r in plan if "Output:" in r["QUERY PLAN"]))

    name = call.partition("(")[0]
    assert name not in output()
    conn.execute(f"ALTER FUNCTION {name} SET search_path FROM CURRENT".encode())
    assert name in output()


def test_only_the_two_result_states_are_worker_results(conn: Connection) -> None:
    rows = conn.execute(
        "SELECT state FROM unnest(%s::text[]) AS state WHERE is_worker_result(state)",
        ([*STATES, "Enqueued_For_Orchestration", ""],),
    ).fetchall()
    assert {row["state"] for row in rows} == {OK, FAILED}


def test_a_key_is_a_uuid_version_7_in_the_order_of_time(conn: Connection) -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    (default,) = conn.execute(
        "SELECT pg_get_expr(adbin, adrelid) AS key FROM pg_attrdef "
        "WHERE adrelid = 'step_audit_events'::regclass AND adnum = 1"
    ).fetchall()
    keys = [
        row["key"]
        for row in conn.execute(
            f"SELECT {default['key']} AS key FROM generate_series(1, 1000)".encode()
        )
    ]
    after = datetime.now(UTC)
    for key in keys:
        assert (key.version, key.variant) == (7, "specified in RFC 4122")
        milliseconds = key.int >> 80
        assert before.timestamp() * 1000 <= milliseconds <= after.timestamp() * 1000
    assert len(set(keys)) == len(keys)
    assert [key.int >> 64 for key in keys] == sorted(key.int >> 64 for key in keys)
    # 62 bits are random: over a thousand keys each of them is seen as 0 and as 1.
    random_bits = (1 << 62) - 1
    ones = zeros = 0
    for key in keys:
        ones |= key.int
        zeros |= ~key.int
    assert ones & random_bits == zeros & random_bits == random_bits


def test_the_key_comes_from_the_server_where_it_has_one(conn: Connection) -> None:
    default = conn.execute(
        "SELECT pg_get_expr(adbin, adrelid) AS text FROM pg_attrdef "
        "WHERE adrelid = 'tasker_workflow_step_result_audit'::regclass AND adnum = 1"
    ).fetchone()
    native = conn.info.server_version >= 180000
    assert default is not None
    assert (default["text"] == "uuidv7()") is native


def test_escaped_letters_in_a_key_are_read(conn: Connection) -> None:
    event = json.dumps({"event": '{"succ\\u0065ss": "\\u006eo", "x": "\\u0000"}'})
    row = conn.execute(
        "SELECT success FROM read_step_result(%s, %s::jsonb)", (OK, event)
    ).fetchone()
    assert row == {"success": False}
