"""The small functions below the reader: escapes, states, keys."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import psycopg
from hypothesis import example, given
from hypothesis import strategies as st

from step_audit.database import Connection
from tests.support.host import FAILED, OK, STATES

# Texts of JSON and of almost JSON, rich in backslashes, escapes and the marks that stand for them.
_PIECES = st.sampled_from(
    r'\ \\ \u0000 \ud83d \ude00 \u00e9 \u005c \u0041 \u12 u \n 0 1 \\0 \\1 é a "'.split()
)
_INSIDES = st.lists(_PIECES | st.sampled_from("\x01 "), max_size=8).map("".join)


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


def test_only_the_two_result_states_are_worker_results(conn: Connection) -> None:
    rows = conn.execute(
        "SELECT state FROM unnest(%s::text[]) AS state WHERE is_worker_result(state)",
        ([*STATES, "Enqueued_For_Orchestration", ""],),
    ).fetchall()
    assert {row["state"] for row in rows} == {OK, FAILED}


def test_our_own_key_is_a_uuid_version_7_in_the_order_of_time(conn: Connection) -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    keys = [
        row["key"]
        for row in conn.execute(
            "SELECT generate_step_audit_uuid() AS key FROM generate_series(1, 1000)"
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


def test_the_key_comes_from_the_server_or_from_us(conn: Connection) -> None:
    default = conn.execute(
        "SELECT pg_get_expr(adbin, adrelid) AS text FROM pg_attrdef "
        "WHERE adrelid = 'tasker_workflow_step_result_audit'::regclass AND adnum = 1"
    ).fetchone()
    native = conn.info.server_version >= 180000
    assert default == {"text": "uuidv7()" if native else "generate_step_audit_uuid()"}


def test_escaped_letters_in_a_key_are_read(conn: Connection) -> None:
    event = json.dumps({"event": '{"succ\\u0065ss": "\\u006eo", "x": "\\u0000"}'})
    row = conn.execute("SELECT success FROM read_step_result(%s, %s)", (OK, event)).fetchone()
    assert row == {"success": False}
