"""Signed notes and their keys, as C2SP specifies them and Go's sumdb/note writes them."""

from __future__ import annotations

import base64
import re

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from step_audit.errors import NotProvedError, TrustError, UsageError
from step_audit.trust.note import SignerKey, VerifierKey, generate_key, open_note, sign_note

# Keys, text and signatures of the documentation and tests of golang.org/x/mod/sumdb/note.
PETER_SIGNER = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
ENOCH = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
PETER_SIGNATURE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFY"
    "C2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
ENOCH_SIGNATURE = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGr"
    "Q5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
)
NOTE = f"{TEXT}\n{PETER_SIGNATURE}"


def test_go_key_signs_the_same_note() -> None:
    assert sign_note(TEXT, PETER_SIGNER) == NOTE
    signer = SignerKey.from_text(PETER_SIGNER)
    assert (signer.name, signer.to_text()) == ("PeterNeumann", PETER_SIGNER)
    assert signer.verifier.to_text() == PETER


@pytest.mark.parametrize(
    "signatures",
    [
        PETER_SIGNATURE,
        PETER_SIGNATURE + ENOCH_SIGNATURE,
        ENOCH_SIGNATURE + PETER_SIGNATURE,
        ENOCH_SIGNATURE * 99 + PETER_SIGNATURE,
        PETER_SIGNATURE * 2,
        # Of the same name under another key, and of another name under the same id.
        PETER_SIGNATURE + "— PeterNeumann AAAAAAAAAAA=\n",
        PETER_SIGNATURE + PETER_SIGNATURE.replace("PeterNeumann", "PeterPan"),
    ],
)
def test_other_signatures_do_not_count(signatures: str) -> None:
    assert open_note(f"{TEXT}\n{signatures}", PETER) == TEXT


def test_either_signer_is_found() -> None:
    assert open_note(NOTE + ENOCH_SIGNATURE, ENOCH) == TEXT


def test_text_may_have_empty_lines() -> None:
    text = "a\n\n— b c\n\n\n"
    assert open_note(sign_note(text, PETER_SIGNER), PETER) == text


def test_note_without_our_signature_is_not_proved() -> None:
    with pytest.raises(NotProvedError) as refusal:
        open_note(f"{TEXT}\n{ENOCH_SIGNATURE}", PETER)
    assert str(refusal.value) == (
        "the note is not signed by PeterNeumann+c74f20a3 but by 'EnochRoot+af0cfe78'. "
        "Do not rely on it, unless you gave the wrong public key."
    )


@pytest.mark.parametrize(
    "note",
    [
        NOTE.replace("answer", "Answer"),
        f"{TEXT}\n{PETER_SIGNATURE.replace('x08go/', 'x08go+')}",
        f"{TEXT}\n{PETER_SIGNATURE}{PETER_SIGNATURE.replace('x08go/', 'x08go+')}",
        f"{TEXT}\n— PeterNeumann x08gowAAAAA=\n",
    ],
)
def test_wrong_signature_of_ours_is_not_proved(note: str) -> None:
    with pytest.raises(NotProvedError) as refusal:
        open_note(note, PETER)
    assert str(refusal.value) == (
        "the note's signature by 'PeterNeumann' is wrong: the note was changed after it was "
        "signed, or not signed by that key. Do not rely on it."
    )


@pytest.mark.parametrize(
    ("note", "reason"),
    [
        ("", "it does not end in lines of signatures"),
        (TEXT, "it does not end in lines of signatures"),
        (f"{TEXT}\n", "it does not end in lines of signatures"),
        (NOTE[:-1], "it does not end in lines of signatures"),
        (f"\x01{NOTE}", "it is not plain text"),
        (NOTE.replace("\n", "\r\n"), "it is not plain text"),
        (f"\ud800{NOTE}", "it is not plain text"),
        (f"{NOTE}Unexpected line.\n", "a line is no signature"),
        (f"{TEXT}\n— Bad Name {PETER_SIGNATURE[15:]}", "it has base64 that cannot be read"),
        (f"{TEXT}\n—  {PETER_SIGNATURE[15:]}", "a line is no signature"),
        (f"{TEXT}\n— a+b {PETER_SIGNATURE[15:]}", "a line is no signature"),
        (f"{TEXT}\n— PeterNeumann x08gow==\n", "a signature is too short"),
        (f"{TEXT}\n— PeterNeumann x08goé==\n", "it has base64 that cannot be read"),
        (f"{TEXT}\n— PeterNeumann x08go\n", "it has base64 that cannot be read"),
        (f"{NOTE[:-3]}N=\n", "it has base64 that cannot be read"),
        (f"{TEXT}\n{PETER_SIGNATURE * 101}", "it has more than 100 signatures"),
        ("x" * 1_000_000 + NOTE, "it is too long"),
    ],
)
def test_malformed_note_cannot_be_read(note: str, reason: str) -> None:
    with pytest.raises(TrustError) as refusal:
        open_note(note, PETER)
    assert not isinstance(refusal.value, NotProvedError)
    said = str(refusal.value)
    assert said.startswith(f"this is no signed note: {reason}")
    assert said.endswith("; nothing was checked. Get it anew, as a whole.")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_key_may_be_given_as_its_file_holds_it(end: str) -> None:
    assert open_note(NOTE, PETER + end) == open_note(NOTE, PETER)
    assert SignerKey.from_text(PETER_SIGNER + end) == SignerKey.from_text(PETER_SIGNER)


@pytest.mark.parametrize("change", [1, 32, 128])
def test_every_byte_of_a_note_counts(change: int) -> None:
    whole = NOTE.encode()
    for at in range(len(whole)):
        changed = whole[:at] + bytes([whole[at] ^ change]) + whole[at + 1 :]
        with pytest.raises(TrustError):
            open_note(changed.decode(errors="surrogateescape"), PETER)
    for at in range(len(NOTE)):
        with pytest.raises(TrustError):
            open_note(NOTE[:at] + NOTE[at + 1 :], PETER)
        with pytest.raises(TrustError):
            open_note(NOTE[:at], PETER)


@pytest.mark.parametrize(
    ("key", "read"), [(PETER, VerifierKey.from_text), (PETER_SIGNER, SignerKey.from_text)]
)
def test_part_of_a_key_is_none(key: str, read: type) -> None:
    for start in range(len(key)):
        for end in range(start, len(key) + 1):
            if end - start < len(key):
                with pytest.raises(TrustError):
                    read(key[start:end])
    for at, character in enumerate(key):
        with pytest.raises(TrustError):
            read(key[:at] + chr(ord(character) + 1) + key[at + 1 :])


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "it has not the form <name>+<id>+<base64>"),
        ("é" * 5000, "it has not the form <name>+<id>+<base64>"),
        (PETER_SIGNER, "it has base64 that cannot be read"),
        (PETER + "\nx", "it has base64 that cannot be read"),
        (PETER.replace("c74f20a3", "C74F20A3"), "its parts do not belong together"),
        # From the tests of golang.org/x/mod/sumdb/note: too long, and of an unknown algorithm.
        (
            "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
            "it has base64 that cannot be read",
        ),
        (f"PeterNeumann+c74f20a3+{'AQID' * 12}", "it is none of Ed25519"),
        (
            "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "it is none of Ed25519",
        ),
    ],
)
def test_public_key_that_is_none(key: str, reason: str) -> None:
    with pytest.raises(TrustError) as refusal:
        open_note(NOTE, key)
    assert re.fullmatch(
        f"this is no public key: {re.escape(reason)}; nothing was "
        "checked. Give what 'step-audit keygen' printed, or a file with it.",
        str(refusal.value),
    )


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "it does not begin with PRIVATE+KEY+"),
        (PETER, "it does not begin with PRIVATE+KEY+"),
        (PETER_SIGNER[:-1] + "a", "its parts do not belong together"),
    ],
)
def test_private_key_that_is_none(key: str, reason: str) -> None:
    with pytest.raises(TrustError) as refusal:
        sign_note(TEXT, key)
    assert str(refusal.value) == (
        f"this is no private key: {reason}; nothing was signed. "
        "Give the file that 'step-audit keygen' wrote."
    )


def test_private_key_is_not_shown() -> None:
    assert "seed" not in repr(SignerKey.from_text(PETER_SIGNER))


@pytest.mark.parametrize("text", ["", "no newline", "tab\t\n", "half\ud800\n"])
def test_text_that_cannot_be_signed(text: str) -> None:
    with pytest.raises(TrustError, match=r"this text cannot be signed: .* nothing was signed\."):
        sign_note(text, PETER_SIGNER)


@pytest.mark.parametrize("name", ["", "two words", "a+b", "line\n", "tab\t", "\u2003", "\ud800"])
def test_name_that_names_no_key(name: str) -> None:
    with pytest.raises(UsageError) as refusal:
        generate_key(name)
    assert str(refusal.value) == (
        f"{name!r} cannot name a key, which is one word without '+'; nothing was written. "
        "Name it like a URL without scheme: example.com/audit."
    )


_PLAIN = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.just("\n"))
_NAMES = st.text(st.characters(categories=["L", "N"]) | st.sampled_from("/._-"), min_size=1)


@given(_NAMES, _PLAIN.map(lambda text: text + "\n"))
def test_what_a_new_key_signs_is_opened_by_it_alone(name: str, text: str) -> None:
    key, other = generate_key(name), generate_key(name)
    note = sign_note(text, key.to_text())
    assert open_note(note, key.verifier.to_text()) == text
    with pytest.raises(NotProvedError):
        open_note(note, other.verifier.to_text())
    # By nothing of ours but the library of signatures.
    signature = base64.b64decode(note.rstrip("\n").rpartition(" ")[2])
    public_key = base64.b64decode(key.verifier.to_text().split("+", 2)[2])
    Ed25519PublicKey.from_public_bytes(public_key[1:]).verify(signature[4:], text.encode())


@given(st.text(), st.text())
def test_any_text_is_refused_plainly(note: str, key: str) -> None:
    with pytest.raises(TrustError):
        open_note(note, PETER)
    with pytest.raises(TrustError):
        open_note(NOTE, key)
