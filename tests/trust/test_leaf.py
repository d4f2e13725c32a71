"""The canonical leaf is what PostgreSQL's json_build_array writes, and nothing else is read."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from step_audit.database import Connection, call
from step_audit.errors import NotProvedError, TrustError
from step_audit.trust.checkpoint import open_checkpoint
from step_audit.trust.leaf import AUDIT_COLUMNS, KINDS, TRANSITION_COLUMNS, VERSION, Leaf, Opening
from tests.support.host import HOST
from tests.support.sealed import leaf_elements, leaf_text, opening_of

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "sealing.md"

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
_HOSTILE = st.lists(st.sampled_from('\x01\b\f\n\r\t\x1f"\\/\x7f\x85\u2028é\U0001f512'), max_size=9)
_TEXTS = _TEXT | _HOSTILE.map("".join)
_BIGINTS = st.integers(-(2**63) + 1, 2**63 - 1)
_BY_TYPE: dict[type, st.SearchStrategy[Any]] = {
    str: _TEXTS,
    int: _BIGINTS,
    bool: st.booleans(),
    type(None): st.none(),
}
_POSTGRES = {str: "text", int: "bigint", bool: "boolean"}

COLUMNS = (*AUDIT_COLUMNS, *TRANSITION_COLUMNS)
VALUES = st.tuples(*(st.one_of(*map(_BY_TYPE.__getitem__, c.types)) for c in COLUMNS))
TYPES = ("text", "text", "bigint", *(_POSTGRES[c.types[0]] for c in COLUMNS), "text")
COMMITMENT = "0123456789abcdef" * 4


def test_leaf_is_the_json_array_that_postgres_builds(host: Connection) -> None:
    elements = sql.SQL(", ").join(sql.SQL("%s::{}").format(sql.SQL(each)) for each in TYPES)
    query = sql.SQL("SELECT json_build_array({})::text AS leaf").format(elements)

    @given(st.sampled_from(KINDS), st.integers(0, 2**63 - 1), VALUES)
    def law(kind: str, index: int, values: tuple[Any, ...]) -> None:
        elements = [VERSION, kind, index, *values, COMMITMENT]
        (row,) = host.execute(query, elements).fetchall()
        leaf = Leaf.from_text(row["leaf"])
        assert leaf.to_text() == row["leaf"]
        assert (*leaf.audit.values(), *leaf.transition.values()) == values
        assert (leaf.kind, leaf.index, leaf.commitment) == (kind, index, COMMITMENT)

    law()


@pytest.mark.parametrize(
    ("time", "text"),
    [
        ("2026-11-22 10:00:00.120000", "2026-11-22T10:00:00.12"),
        ("2026-11-22 10:00:00", "2026-11-22T10:00:00"),
        ("infinity", "infinity"),
        ("-infinity", "-infinity"),
        ("0044-03-15 BC", "0044-03-15T00:00:00 BC"),
        ("10000-01-01", "10000-01-01T00:00:00"),
    ],
)
def test_timestamps_are_the_text_that_postgres_writes(
    host: Connection, time: str, text: str
) -> None:
    (row,) = host.execute("SELECT json_build_array(%s::timestamp)::text AS time", [time]).fetchall()
    assert json.loads(row["time"]) == [text]
    elements = [text if each == "2026-11-22T10:00:00.12" else each for each in leaf_elements(1)]
    leaf = Leaf.from_text(json.dumps(elements))
    assert leaf.audit["recorded_at"] == text
    assert leaf.to_text() == json.dumps(elements)


def test_commitment_is_what_postgres_computes(conn: Connection) -> None:
    payloads = st.none() | _TEXTS.filter(bool)

    @given(st.binary(min_size=16, max_size=16), st.none() | _TEXTS, payloads)
    def law(salt: bytes, recorded_by: str | None, payload: str | None) -> None:
        (row,) = call(
            conn,
            HOST.audit_schema,
            "commit_step_audit_payload",
            p_salt=salt,
            p_recorded_by=recorded_by,
            p_payload=payload,
        )
        opening = Opening(salt, recorded_by, payload)
        assert row["commit_step_audit_payload"].hex() == opening.commitment()

    law()


def test_columns_stand_in_their_order() -> None:
    elements = leaf_elements(3)
    leaf = Leaf.from_text(leaf_text(3))
    assert len(elements) == 21
    assert leaf.index == 3
    assert list(leaf.audit.values()) == elements[3:16]
    assert list(leaf.transition.values()) == elements[16:20]
    assert leaf.commitment == opening_of(3).commitment() == elements[20]
    assert leaf.to_bytes() == leaf_text(3).encode()


def test_audit_columns_are_those_of_the_table(conn: Connection) -> None:
    found = conn.execute("SELECT * FROM tasker_workflow_step_result_audit WHERE false")
    assert found.description is not None
    names = [each.name for each in found.description]
    names.remove("recorded_by")
    assert names == [each.name for each in AUDIT_COLUMNS]


def test_documentation_lists_the_same_elements() -> None:
    table = re.findall(r"^\| (\d+) \| (.*?) \|", DOCUMENTATION.read_text(), re.MULTILINE)
    names = [
        f'`"{VERSION}"`',
        "kind",
        "leaf index",
        *(f"`{column.name}`" for column in AUDIT_COLUMNS),
        *(f"`{column.name}`" for column in TRANSITION_COLUMNS),
        "commitment",
    ]
    assert table == [(str(number), name) for number, name in enumerate(names, start=1)]


def test_documented_leaf_is_one() -> None:
    (block,) = re.findall(
        r'^```json\n(\["step-audit 2".*?\])\n```$', DOCUMENTATION.read_text(), re.M | re.S
    )
    (digest,) = re.findall(r"leaf hash, .*?:\s`([0-9a-f]{64})`", DOCUMENTATION.read_text(), re.S)
    text = block.replace(",\n", ", ")
    leaf = Leaf.from_text(text)
    assert leaf.to_text() == text
    assert hashlib.sha256(b"\0" + text.encode()).hexdigest() == digest


def test_documented_checkpoint_is_that_of_the_documented_leaf() -> None:
    page = DOCUMENTATION.read_text()
    (note,) = re.findall(r"^```\n(example.*?)^```$", page, re.M | re.S)
    (key,) = re.findall(r"key\s`(.*?)`", page)
    checkpoint = open_checkpoint(note, key)
    (digest,) = re.findall(r"leaf hash, .*?:\s`([0-9a-f]{64})`", page, re.S)
    assert (checkpoint.tree_size, checkpoint.root_hash.hex()) == (1, digest)


@pytest.mark.parametrize(
    ("element", "value", "reason"),
    [
        (0, "step-audit 1", "it is no array of 'step-audit 2' and 20 values"),
        (1, "event", "it is of an unknown kind, 'event'"),
        (2, "3", "leaf_index is not a whole number"),
        (2, True, "leaf_index is not a whole number"),
        (2, -1, "leaf_index is -1"),
        (3, None, "audit.workflow_step_result_audit_uuid is not text"),
        (8, 7, "audit.worker_uuid is not text or null"),
        (10, 1, "audit.success is not true or false"),
        (10, "true", "audit.success is not true or false"),
        (12, True, "audit.execution_time_ms is not a whole number or null"),
        (12, 2**63, "it has a number that is no bigint: 9223372036854775808"),
        (12, 1.0, "it has a number that is no bigint: 1.0"),
        (15, None, "audit.recorded_xid is not a whole number"),
        (17, "\ud800", "transition.from_state has half a surrogate pair"),
        (18, ["enqueued"], "transition.to_state is not text"),
        (20, None, "commitment is not a SHA-256 in hexadecimal digits"),
        (20, "A" * 64, "commitment is not a SHA-256 in hexadecimal digits"),
    ],
)
def test_element_of_another_kind(element: int, value: object, reason: str) -> None:
    elements = leaf_elements(3)
    elements[element] = value
    refused(json.dumps(elements), reason)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value: line 1 column 1 (char 0)"),
        ("{}", "it is no array of 'step-audit 2' and 20 values"),
        ("[]", "it is no array of 'step-audit 2' and 20 values"),
        (leaf_text(3)[:-1] + ", 1]", "it is no array of 'step-audit 2' and 20 values"),
        (leaf_text(3) + " ", "it is not written in its canonical form"),
        (leaf_text(3).replace(", ", ","), "it is not written in its canonical form"),
        (leaf_text(3).replace("in_p", "\\u0069n_p"), "it is not written in its canonical form"),
        ("[" * 200_000, "it is nested too deep"),
        ("9" * 5000, "it has a number that is no bigint: 99999999999999999999"),
    ],
)
def test_text_of_another_form(text: str, reason: str) -> None:
    refused(text, reason)


def refused(text: str, reason: str) -> None:
    with pytest.raises(TrustError) as refusal:
        Leaf.from_text(text)
    assert str(refusal.value) == (
        f"the sealed record cannot be read: {reason}; nothing was checked. Get it anew."
    )
    assert not isinstance(refusal.value, NotProvedError)
