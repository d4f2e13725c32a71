"""That a log extends an older one is proved by the database, and shown by a file alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from step_audit.database import call
from step_audit.errors import NotProvedError, TrustError
from step_audit.trust.checkpoint import Checkpoint, sign_checkpoint
from step_audit.trust.consistency import ConsistencyProof, check_extends, check_proof, needs_proof
from step_audit.trust.encoding import encode_base64
from step_audit.trust.note import generate_key
from tests.support import tree
from tests.support.host import HOST
from tests.support.sealed import SIGNER, SIGNER_KEY, VERIFIER_KEY
from tests.trust.conftest import Worlds
from tests.trust.world import World

LEAVES = [str(number).encode() for number in range(40)]
ALTERED = [*LEAVES[:7], b"altered", *LEAVES[8:]]

SIZES = st.integers(0, len(LEAVES))


def head(size: int, leaves: list[bytes] = LEAVES) -> Checkpoint:
    return Checkpoint(SIGNER.name, size, tree.root(leaves[:size]))


def path(old: int, new: int, leaves: list[bytes] = LEAVES) -> list[bytes]:
    return tree.consistency_path(old, leaves[:new]) if 0 < old < new else []


def proof_file(old: int, new: int, leaves: list[bytes] = LEAVES) -> str:
    note = sign_checkpoint(head(new, leaves), SIGNER_KEY)
    return ConsistencyProof(old, tuple(path(old, new, leaves)), note).to_text()


# The database.


@pytest.fixture
def world(worlds: Worlds) -> World:
    return worlds("plain")


def ask(world: World, old: int | None, new: int | None) -> list[bytes] | None:
    (row,) = call(
        world.conn, HOST.audit_schema, "get_step_audit_consistency", p_old_size=old, p_new_size=new
    )
    found: list[bytes] | None = row["get_step_audit_consistency"]
    return found


def test_the_database_proves_what_the_rfc_defines(world: World) -> None:
    rows = call(world.conn, HOST.audit_schema, "list_step_audit_leaves", p_first=0, p_until=2**40)
    leaves = [row["leaf"].encode() for row in rows]
    size = len(leaves)
    assert size > 512

    @settings(max_examples=150)
    @given(st.integers(1, size), st.integers(1, size))
    @example(1, size)
    @example(255, 256)
    @example(256, 257)
    @example(256, 512)
    @example(511, 513)
    @example(size, size)
    def law(one: int, other: int) -> None:
        old, new = sorted((one, other))
        assert ask(world, old, new) == path(old, new, leaves)

    law()


def test_the_database_proves_nothing_of_sizes_that_the_log_never_had(world: World) -> None:
    size = world.size
    assert ask(world, 0, size) == []
    assert ask(world, 0, 0) == []
    for old, new in ((2, 1), (-1, 5), (1, size + 1), (size + 1, size + 1), (1, 2**62)):
        assert ask(world, old, new) is None
    assert ask(world, None, 5) is None
    assert ask(world, 5, None) is None


# The check.


@given(SIZES, SIZES)
def test_a_longer_log_extends_a_shorter_one(one: int, other: int) -> None:
    old, new = sorted((one, other))
    check_extends(head(old), head(new), path(old, new))
    assert needs_proof(head(old), head(new)) == (0 < old < new)


@given(SIZES, SIZES)
def test_a_shorter_log_extends_none(one: int, other: int) -> None:
    old, new = max(one, other) + 1, min(one, other)
    with pytest.raises(ValueError, match=f"the log has {new} records, and had {old} before"):
        check_extends(Checkpoint(SIGNER.name, old, bytes(32)), head(new))


@given(st.integers(8, len(LEAVES)), st.integers(8, len(LEAVES)))
def test_a_log_that_was_altered_extends_none(one: int, other: int) -> None:
    old, new = sorted((one, other))
    for proof in (path(old, new), path(old, new, ALTERED)):
        with pytest.raises(ValueError, match=r"path|different roots"):
            check_extends(head(old), head(new, ALTERED), proof)


@given(SIZES, SIZES, st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=9))
def test_no_other_path_shows_anything(one: int, other: int, hashes: list[bytes]) -> None:
    old, new = sorted((one, other))
    if hashes == path(old, new):
        return
    with pytest.raises(ValueError, match=r"path"):
        check_extends(head(old), head(new), hashes)


def test_an_empty_log_has_one_root() -> None:
    with pytest.raises(ValueError, match="two logs of 0 records have different roots"):
        check_extends(Checkpoint(SIGNER.name, 0, bytes(32)), head(3))


def test_a_log_extends_none_of_another_name() -> None:
    with pytest.raises(ValueError, match=r"one is of the log 'example\.com/other', the other of"):
        check_extends(Checkpoint("example.com/other", 3, head(3).root_hash), head(3))


# The file.


@given(SIZES, SIZES)
def test_a_file_is_read_as_it_is_written_and_proves(one: int, other: int) -> None:
    old, new = sorted((one, other))
    text = proof_file(old, new)
    assert ConsistencyProof.from_text(text).to_text() == text
    check_proof(head(old), head(new), text, VERIFIER_KEY)


def test_the_file_has_the_form_that_a_witness_is_sent() -> None:
    first, *hashes = proof_file(5, 11).partition("\n\n")[0].split("\n")
    assert first == "old 5"
    assert hashes == [encode_base64(each) for each in path(5, 11)]
    assert proof_file(5, 11).partition("\n\n")[2] == sign_checkpoint(head(11), SIGNER_KEY)
    assert proof_file(0, 11).startswith(f"old 0\n\n{SIGNER.name}\n11\n")


@pytest.mark.parametrize("sizes", [(4, 11), (5, 12), (6, 11), (0, 11), (11, 11)])
def test_a_proof_of_other_checkpoints_shows_nothing(sizes: tuple[int, int]) -> None:
    with pytest.raises(NotProvedError) as refusal:
        check_proof(head(5), head(11), proof_file(*sizes), VERIFIER_KEY)
    assert str(refusal.value) == (
        f"the proof is of other checkpoints, of {sizes[0]} and {sizes[1]} records, "
        "not of 5 and 11; it shows nothing here. "
        "Give the file that was written beside the newer checkpoint."
    )


def test_a_false_proof_says_so() -> None:
    with pytest.raises(NotProvedError) as refusal:
        check_proof(head(9), head(11, ALTERED), proof_file(9, 11, ALTERED), VERIFIER_KEY)
    assert str(refusal.value) == (
        "the proof does not show that the newer checkpoint extends the older one: the path does "
        "not begin with the older tree. Do not rely on the newer one."
    )


def test_a_proof_with_a_checkpoint_of_another_key_shows_nothing() -> None:
    other = generate_key(SIGNER.name)
    with pytest.raises(NotProvedError, match="the note is not signed by"):
        check_proof(head(5), head(11), proof_file(5, 11), other.verifier.to_text())


def unsigned(edit: Callable[[str], str]) -> str:
    return edit(proof_file(5, 11))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it does not begin with the size of the older log"),
        ("old -1\n\n", "it does not begin with the size of the older log"),
        ("old 05\n\n", "it does not begin with the size of the older log"),
        ("old " + "9" * 99 + "\n\n", "it does not begin with the size of the older log"),
        ("old 5", "no checkpoint follows after an empty line"),
        (unsigned(lambda text: text.replace("\n", "\r\n")), "it does not begin with the size"),
        (unsigned(lambda text: text.replace("\n", "\nAA==\n", 1)), "a line is not the base64 of"),
        (unsigned(lambda text: text.replace("\n", "\n??\n", 1)), "it has base64 that cannot be"),
        (
            unsigned(
                lambda text: text.replace("\n", "\n" + f"{encode_base64(bytes(32))}\n" * 60, 1)
            ),
            "it has more than 63 hashes",
        ),
    ],
)
def test_a_file_that_is_no_proof(text: str, reason: str) -> None:
    with pytest.raises(TrustError) as refusal:
        check_proof(head(5), head(11), text, VERIFIER_KEY)
    assert not isinstance(refusal.value, NotProvedError)
    assert str(refusal.value).startswith(f"this is no consistency proof: {reason}")
    assert str(refusal.value).endswith("; nothing was checked. Get it anew, as a whole.")


@given(st.text())
def test_any_text_is_refused_plainly(text: str) -> None:
    with pytest.raises(TrustError):
        check_proof(head(5), head(11), text, VERIFIER_KEY)
