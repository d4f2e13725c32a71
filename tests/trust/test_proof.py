"""A proof holds for the record that was sealed, and for nothing else."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step_audit.errors import NotProvedError, TrustError
from step_audit.trust.checkpoint import Checkpoint, sign_checkpoint
from step_audit.trust.note import generate_key
from step_audit.trust.proof import build_proof, read_proof, verify_proof, write_proof
from tests.support.sealed import (
    METADATA,
    SALT,
    SIGNER,
    SIGNER_KEY,
    VERIFIER_KEY,
    leaf_elements,
    leaf_text,
    make_proof,
    opening_of,
)
from tests.support.tree import root

INDEX, SIZE = 5, 11
PROOF = make_proof(INDEX, SIZE)
DOCUMENT = json.loads(PROOF)


def edited(edit: Callable[[dict[str, Any]], object]) -> str:
    document = copy.deepcopy(DOCUMENT)
    edit(document)
    return json.dumps(document)


def unreadable(text: str) -> str:
    """The reason why a proof cannot be read."""
    with pytest.raises(TrustError) as refusal:
        verify_proof(text, VERIFIER_KEY)
    assert not isinstance(refusal.value, NotProvedError)
    assert refusal.value.exit_code == 3
    return str(refusal.value)


def false(text: str) -> str:
    """The reason why a proof is false."""
    with pytest.raises(NotProvedError) as refusal:
        verify_proof(text, VERIFIER_KEY)
    assert refusal.value.exit_code == 1
    return str(refusal.value)


@pytest.mark.parametrize("size", [*range(1, 18), 33])
def test_every_record_of_a_log_is_proved(size: int) -> None:
    for index in range(size):
        proved = verify_proof(make_proof(index, size), VERIFIER_KEY)
        _, _, _, *values, _ = leaf_elements(index)
        assert [*proved.leaf.audit.values(), *proved.leaf.transition.values()] == values
        assert proved.leaf.index == index
        assert proved.opening == opening_of(index)
        assert (proved.checkpoint.origin, proved.checkpoint.tree_size) == (SIGNER.name, size)


def test_private_part_may_be_withheld_and_not_be_there() -> None:
    withheld = verify_proof(make_proof(INDEX, SIZE, withheld=True), VERIFIER_KEY)
    assert withheld.opening is None
    absent = verify_proof(make_proof(INDEX, SIZE, metadata=None), VERIFIER_KEY)
    assert absent.opening == opening_of(INDEX, None)
    shown = verify_proof(make_proof(INDEX, SIZE, metadata="null"), VERIFIER_KEY)
    assert shown.opening == opening_of(INDEX, "null")
    assert "opening" not in json.loads(make_proof(INDEX, SIZE, withheld=True))


def test_proof_that_withholds_gives_nothing_to_guess_by() -> None:
    """Neither salt, nor a hash of the metadata without it."""
    text = make_proof(INDEX, SIZE, withheld=True)
    digest = hashlib.sha256(METADATA.encode())
    for secret in (SALT.hex(), base64.b64encode(SALT).decode(), digest.hexdigest(), "engine"):
        assert secret not in text
    assert base64.b64encode(digest.digest()).decode() not in text


def test_result_that_is_not_there_cannot_be_shown() -> None:
    document = json.loads(make_proof(INDEX, SIZE, metadata=None))
    for payload in ("null", "{}"):
        document["opening"]["payload"] = payload
        assert "its opening is not what was sealed" in false(json.dumps(document))
    document["opening"]["payload"] = ""
    assert "payload is empty" in unreadable(json.dumps(document))


def test_proof_is_read_as_it_is_written() -> None:
    assert write_proof(read_proof(PROOF)) == PROOF
    assert PROOF.isascii()


def test_proof_says_what_the_documentation_says() -> None:
    leaf = leaf_text(INDEX).encode()
    assert list(DOCUMENT) == [
        "format",
        "record",
        "leaf_index",
        "leaf_hash",
        "inclusion_path",
        "checkpoint",
        "opening",
    ]
    assert DOCUMENT["format"] == "step-audit-proof/2"
    digest = hashlib.sha256(b"\0" + leaf).digest()
    assert base64.b64decode(DOCUMENT["leaf_hash"]) == digest


def leaves(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each scalar in a document."""
    if not isinstance(document, dict | list):
        yield path
        return
    members = document.items() if isinstance(document, dict) else enumerate(document)
    for name, member in members:
        yield from leaves(member, (*path, name))


PATHS = list(leaves(DOCUMENT))


def another(value: Any) -> list[Any]:
    """Values of the same type, and close."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1, -value, None]
    if value is None:
        return ["", "0", 0]
    return [value + " ", value[:-1], value[1:], value.swapcase() + "x", "", None]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(map(str, path)))
def test_every_value_of_a_proof_counts(path: tuple[Any, ...]) -> None:
    *parents, name = path
    holder = DOCUMENT
    for parent in parents:
        holder = holder[parent]
    for value in another(holder[name]):

        def change(document: Any, value: Any = value) -> None:
            for parent in parents:
                document = document[parent]
            document[name] = value

        with pytest.raises(TrustError):
            verify_proof(edited(change), VERIFIER_KEY)


def test_every_byte_of_a_proof_counts() -> None:
    """Or it is blank between two tokens, and says the same."""
    proved = verify_proof(PROOF, VERIFIER_KEY)
    same = 0
    for at in range(len(PROOF)):
        for character in (chr(ord(PROOF[at]) ^ 1), "", "\0"):
            try:
                found = verify_proof(PROOF[:at] + character + PROOF[at + 1 :], VERIFIER_KEY)
            except TrustError:
                continue
            assert found == proved
            assert PROOF[at] in " \n"
            same += 1
    assert same < len(PROOF) / 2


def test_part_of_a_proof_is_none() -> None:
    for end in range(len(PROOF) - 1):
        assert "the proof cannot be read" in unreadable(PROOF[:end])


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda d: d["record"]["audit"].update(success=False), "its record is not the one of its"),
        (lambda d: d.update(leaf_index=6), "its record is not the one of its leaf hash"),
        (lambda d: d["opening"].update(payload="{}"), "its opening is not what was sealed"),
        (lambda d: d["opening"].update(recorded_by="me"), "its opening is not what was sealed"),
        (
            lambda d: d["record"].update(commitment="00" * 32),
            "its opening is not what was sealed",
        ),
        (lambda d: d["inclusion_path"].pop(), "the path has 3 hashes, which is too few"),
        (
            lambda d: d["inclusion_path"].append(d["leaf_hash"]),
            "the path has 5 hashes, which is too many",
        ),
        (
            lambda d: d.update(inclusion_path=[d["leaf_hash"]] * 1000),
            "the path has 1000 hashes, which is too many",
        ),
        (
            lambda d: d["inclusion_path"].reverse(),
            "its path does not lead to the root that was signed",
        ),
    ],
)
def test_false_proof_says_what_is_false(edit: Callable[[Any], object], reason: str) -> None:
    said = false(edited(edit))
    assert said.startswith(f"the proof is false: {reason}")
    assert said.endswith(". Do not rely on the record in it.")


def test_record_that_was_rehashed_is_false() -> None:
    """Even where record, metadata and leaf hash agree with each other."""
    metadata = METADATA.replace("true", "false")
    leaf = leaf_text(INDEX, metadata)
    proof = read_proof(PROOF)
    forged = build_proof(
        leaf, opening_of(INDEX, metadata), proof.inclusion_path, proof.checkpoint_note
    )
    assert "its path does not lead to the root" in false(write_proof(forged))


@pytest.mark.parametrize("size", [1, INDEX, INDEX + 1, SIZE - 1, SIZE + 1, 2**63 - 1])
def test_checkpoint_of_another_size_is_false(size: int) -> None:
    proof = read_proof(PROOF)
    root_hash = root([leaf_text(each).encode() for each in range(min(size, SIZE + 1))])
    note = sign_checkpoint(Checkpoint(SIGNER.name, size, root_hash), SIGNER_KEY)
    forged = build_proof(leaf_text(INDEX), opening_of(INDEX), proof.inclusion_path, note)
    assert "the proof is false: " in false(write_proof(forged))


def test_proof_by_another_key_is_false() -> None:
    other = generate_key(SIGNER.name)
    with pytest.raises(NotProvedError, match="the note is not signed by"):
        verify_proof(PROOF, other.verifier.to_text())
    checkpoint = Checkpoint.from_text(
        read_proof(PROOF).checkpoint_note.rpartition("\n\n")[0] + "\n"
    )
    forged = DOCUMENT | {"checkpoint": sign_checkpoint(checkpoint, other.to_text())}
    assert "the note is not signed by" in false(json.dumps(forged))


def test_inner_node_does_not_pass_for_a_leaf() -> None:
    """The prefixes of RFC 6962 tell them apart, whatever a record says."""
    whole = [leaf_text(each).encode() for each in range(2)]
    node = b"".join(hashlib.sha256(b"\0" + leaf).digest() for leaf in whole)
    assert hashlib.sha256(b"\1" + node).digest() == root(whole)
    assert hashlib.sha256(b"\0" + node).digest() != root(whole)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ("null", "it is no JSON object of the format step-audit-proof/2"),
        ("[]", "it is no JSON object of the format step-audit-proof/2"),
        ("{}", "it is no JSON object of the format step-audit-proof/2"),
        ("\ufeff" + PROOF, "Unexpected UTF-8 BOM"),
        (PROOF + PROOF, "Extra data"),
        ("[" * 200_000, "it is nested too deep"),
        ('{"a":' * 200_000, "it is nested too deep"),
        (edited(lambda d: d.update(format="step-audit-proof/1")), "it is no JSON object of the"),
        (edited(lambda d: d.update(comment="")), "it does not have just the members checkpoint, "),
        (edited(lambda d: d.pop("leaf_hash")), "it does not have just the members checkpoint, "),
        (edited(lambda d: d.update(record=[])), "its record does not have just the members"),
        (edited(lambda d: d["record"].update(x=1)), "its record does not have just the members"),
        (edited(lambda d: d["record"].update(audit=None)), "audit does not have just the columns"),
        (edited(lambda d: d["record"]["audit"].pop("success")), "audit does not have just the"),
        (edited(lambda d: d["record"]["transition"].update(x=1)), "transition does not have just"),
        (edited(lambda d: d["record"]["audit"].update(success=1)), "audit.success is not true or"),
        (
            edited(lambda d: d["record"]["transition"].update(to_state="\ud800")),
            "transition.to_state has half a surrogate pair",
        ),
        (edited(lambda d: d["opening"].update(payload="\udfff")), "payload has half a surrogate"),
        (edited(lambda d: d["opening"].update(payload={})), "payload is not text or null"),
        (edited(lambda d: d["opening"].update(salt="")), "its salt does not have 16 bytes"),
        (edited(lambda d: d["opening"].update(salt=None)), "salt is not text"),
        (edited(lambda d: d["opening"].update(x=1)), "its opening does not have just the members"),
        (edited(lambda d: d.update(opening=None)), "its opening does not have just the members"),
        (edited(lambda d: d["record"].update(kind="change")), "it is of an unknown kind, 'change'"),
        (edited(lambda d: d["record"].update(kind=[])), "it is of an unknown kind, []"),
        (edited(lambda d: d["record"].update(commitment="0")), "commitment is not a SHA-256 in"),
        (edited(lambda d: d["record"].update(commitment=0)), "commitment is not a SHA-256 in"),
        (edited(lambda d: d.update(leaf_index=True)), "leaf_index is not a whole number"),
        (edited(lambda d: d.update(leaf_index="5")), "leaf_index is not a whole number"),
        (edited(lambda d: d.update(leaf_index=-5)), "leaf_index is -5"),
        (edited(lambda d: d.update(leaf_index=2**63)), "it has a number that is no bigint: 9223"),
        (edited(lambda d: d.update(leaf_index=5.0)), "it has a number that is no bigint: 5.0"),
        (edited(lambda d: d.update(leaf_index=float("nan"))), "it has a number that is no bigint"),
        (PROOF.replace('"leaf_index": 5', '"leaf_index": ' + "5" * 9999), "it has a number that"),
        (PROOF.replace('"leaf_index": 5', '"leaf_index": 5e0'), "it has a number that is no"),
        (PROOF.replace('"leaf_index": 5', '"leaf_index": 05'), "Expecting ',' delimiter"),
        (
            PROOF.replace('"leaf_index": 5', '"leaf_index": 5, "leaf_index": 5'),
            "an object has the same name twice",
        ),
        (
            PROOF.replace('"success"', '"success": true, "success"'),
            "an object has the same name twice",
        ),
        (edited(lambda d: d.update(leaf_hash=None)), "a hash is not the base64 of 32 bytes"),
        (edited(lambda d: d.update(leaf_hash="")), "a hash is not the base64 of 32 bytes"),
        (edited(lambda d: d.update(leaf_hash="é")), "it has base64 that cannot be read"),
        (edited(lambda d: d.update(inclusion_path="")), "inclusion_path is not an array"),
        (edited(lambda d: d.update(inclusion_path=[[]])), "a hash is not the base64 of 32 bytes"),
        (edited(lambda d: d.update(checkpoint=3)), "checkpoint is not text"),
        (edited(lambda d: d.update(checkpoint="")), "it does not end in lines of signatures"),
    ],
)
def test_hostile_proof_cannot_be_read(text: str, reason: str) -> None:
    said = unreadable(text)
    assert f"{reason}" in said
    assert "; nothing was checked. Get it anew" in said


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(PATHS), st.data())
def test_any_json_in_place_of_any_member_is_refused(
    path: tuple[Any, ...], data: st.DataObject
) -> None:
    path = path[: data.draw(st.integers(1, len(path)))]
    *parents, name = path
    document = holder = copy.deepcopy(DOCUMENT)
    for parent in parents:
        holder = holder[parent]
    value = data.draw(_JSON.filter(lambda value: value != holder[name]))
    holder[name] = value
    with pytest.raises(TrustError):
        verify_proof(json.dumps(document), VERIFIER_KEY)


@given(st.text() | _JSON.map(json.dumps))
def test_any_text_is_refused_plainly(text: str) -> None:
    unreadable(text)


def test_database_that_writes_another_leaf_gets_no_proof() -> None:
    with pytest.raises(TrustError, match="it is not written in its canonical form"):
        build_proof(leaf_text(INDEX).replace(", ", ","), None, [], "")
