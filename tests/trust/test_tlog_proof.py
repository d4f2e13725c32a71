"""Proofs in C2SP's form (c2sp.org/tlog-proof) say what those in JSON say."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step_audit.errors import TrustError
from step_audit.trust.merkle import root_from_inclusion_path
from step_audit.trust.note import open_note
from step_audit.trust.proof import read_proof, verify_proof
from step_audit.trust.tlog_proof import from_tlog_proof, is_tlog_proof, to_tlog_proof
from tests.support.sealed import METADATA, SIGNER, VERIFIER_KEY, leaf_text, make_proof

INDEX, SIZE = 5, 11
JSON = make_proof(INDEX, SIZE)
PROOF = to_tlog_proof(JSON)


@pytest.mark.parametrize("size", [1, 2, 7, 8, 11])
@pytest.mark.parametrize("metadata", [METADATA, None])
@pytest.mark.parametrize("withheld", [True, False])
def test_each_proof_is_read_back(size: int, metadata: str | None, withheld: bool) -> None:
    for index in range(size):
        proof = make_proof(index, size, metadata, withheld)
        text = to_tlog_proof(proof)
        assert is_tlog_proof(text)
        assert not is_tlog_proof(proof)
        assert from_tlog_proof(text) == proof
        verify_proof(from_tlog_proof(text), VERIFIER_KEY)


def test_whoever_knows_the_form_and_no_more_can_check_it() -> None:
    head, _, note = PROOF.partition("\n\n")
    first, extra, index, *hashes = head.split("\n")
    assert (first, index) == ("c2sp.org/tlog-proof@v1", f"index {INDEX}")
    assert extra.startswith("extra ")
    leaf = json.loads(base64.b64decode(extra[6:]))["leaf"].encode()
    assert leaf == leaf_text(INDEX).encode()
    origin, size, root, *_ = open_note(note, VERIFIER_KEY).split("\n")
    assert (origin, size) == (SIGNER.name, str(SIZE))
    digest = hashlib.sha256(b"\0" + leaf).digest()
    path = [base64.b64decode(line) for line in hashes]
    assert root_from_inclusion_path(INDEX, SIZE, digest, path) == base64.b64decode(root)
    assert note == read_proof(JSON).checkpoint_note


def test_every_byte_of_a_proof_counts() -> None:
    """Or it is blank in the JSON of its extra data, and says the same."""
    proved = verify_proof(JSON, VERIFIER_KEY)
    for at in range(len(PROOF)):
        for character in (chr(ord(PROOF[at]) ^ 1), "", "\0"):
            try:
                text = from_tlog_proof(PROOF[:at] + character + PROOF[at + 1 :])
                found = verify_proof(text, VERIFIER_KEY)
            except TrustError:
                continue
            assert found == proved


def with_extra(edit: Callable[[dict[str, object]], object]) -> str:
    lines = PROOF.split("\n")
    extra = json.loads(base64.b64decode(lines[1][6:]))
    edit(extra)
    lines[1] = "extra " + base64.b64encode(json.dumps(extra).encode()).decode()
    return "\n".join(lines)


def with_line(number: int, line: str | None) -> str:
    lines = PROOF.split("\n")
    lines[number : number + 1] = [] if line is None else [line]
    return "\n".join(lines)


def encoded(data: bytes) -> str:
    return "extra " + base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is no c2sp.org/tlog-proof@v1 with a checkpoint after an empty line"),
        (PROOF.partition("\n\n")[0], "it is no c2sp.org/tlog-proof@v1 with a checkpoint"),
        (with_line(0, "c2sp.org/tlog-proof@v2"), "it is no c2sp.org/tlog-proof@v1 with"),
        (with_line(1, None), "it has no extra data, where the record stands"),
        (with_line(1, "extra ??"), "it has base64 that cannot be read"),
        (with_line(1, encoded(b"\xff")), "'utf-8' codec can't decode byte"),
        (with_line(1, encoded(b"[" * 100_000)), "it is nested too deep"),
        (with_line(1, encoded(b"[]")), "its extra data is no JSON object with a leaf"),
        (with_line(1, encoded(b'{"leaf": 3}')), "its extra data is no JSON object with a leaf"),
        (with_line(1, encoded(b'{"leaf": "", "leaf": ""}')), "an object has the same name twice"),
        (with_line(2, None), "its third line is not the index of a record"),
        (with_line(2, "index 05"), "its third line is not the index of a record"),
        (with_line(2, "index -5"), "its third line is not the index of a record"),
        (with_line(2, "index " + "9" * 99), "its third line is not the index of a record"),
        (with_line(2, f"index {INDEX + 1}"), "its index is not the one of its record"),
        (with_line(3, "AA=="), "a hash is not the base64 of 32 bytes"),
        (with_line(3, "??"), "it has base64 that cannot be read"),
        (
            with_extra(lambda extra: extra.update(leaf_index=6)),
            "its extra data has members that stand elsewhere",
        ),
        (with_extra(lambda extra: extra.update(x=1)), "it does not have just the members"),
        (with_extra(lambda extra: extra.update(leaf="[]")), ""),
    ],
)
def test_a_text_that_is_no_such_proof(text: str, reason: str) -> None:
    with pytest.raises(TrustError) as refusal:
        verify_proof(from_tlog_proof(text), VERIFIER_KEY)
    assert refusal.value.exit_code == 3
    assert f"cannot be read: {reason}" in str(refusal.value)
    assert "; nothing was checked. Get it anew" in str(refusal.value)


@given(st.text())
def test_any_text_is_refused_plainly(text: str) -> None:
    with pytest.raises(TrustError):
        from_tlog_proof(text)
    with pytest.raises(TrustError):
        verify_proof(from_tlog_proof("c2sp.org/tlog-proof@v1\n" + text), VERIFIER_KEY)
