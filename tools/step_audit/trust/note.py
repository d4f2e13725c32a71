"""Text that is signed with Ed25519, and the keys: C2SP's signed notes (c2sp.org/signed-note).

Keys are written as Go's ``golang.org/x/mod/sumdb/note`` writes them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from step_audit.errors import NotProvedError, TrustError, UsageError
from step_audit.trust.encoding import decode_base64, encode_base64

_ED25519 = b"\x01"
_KEY_SIZE = 32
_ID_SIZE = 4
_SIGNER = "PRIVATE+KEY+"
_SIGNATURE = "\u2014 "
_MAX_NOTE = 1_000_000
_MAX_SIGNATURES = 100


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """The public half of a key."""

    name: str
    public_key: bytes

    @property
    def id(self) -> bytes:
        """Four bytes that tell keys of the same name apart."""
        named = self.name.encode() + b"\n" + _ED25519 + self.public_key
        return hashlib.sha256(named).digest()[:_ID_SIZE]

    def to_text(self) -> str:
        """``<name>+<id>+<base64>``."""
        return _join(self.name, self.id, self.public_key)

    @classmethod
    def from_text(cls, text: str) -> VerifierKey:
        """Read what :meth:`to_text` writes, or a file with it, which ends in a newline.

        Raises:
            TrustError: it is something else.
        """
        text = text.strip()
        try:
            name, key = _split(text)
            verifier = cls(name, key)
            if verifier.to_text() != text:
                raise ValueError("its parts do not belong together")
        except ValueError as error:
            raise TrustError(
                f"this is no public key: {error}; nothing was checked. "
                "Give what 'step-audit keygen' printed, or a file with it."
            ) from error
        return verifier


@dataclass(frozen=True, slots=True)
class SignerKey:
    """The private half of a key."""

    name: str
    seed: bytes = field(repr=False)

    @property
    def verifier(self) -> VerifierKey:
        """The public half."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
            Ed25519PrivateKey,
        )

        public_key = Ed25519PrivateKey.from_private_bytes(self.seed).public_key()
        return VerifierKey(self.name, public_key.public_bytes_raw())

    def to_text(self) -> str:
        """``PRIVATE+KEY+<name>+<id>+<base64>``."""
        return _SIGNER + _join(self.name, self.verifier.id, self.seed)

    @classmethod
    def from_text(cls, text: str) -> SignerKey:
        """Read what :meth:`to_text` writes, or a file with it, which ends in a newline.

        Raises:
            TrustError: it is something else.
        """
        text = text.strip()
        try:
            if not text.startswith(_SIGNER):
                raise ValueError(f"it does not begin with {_SIGNER}")
            name, seed = _split(text.removeprefix(_SIGNER))
            signer = cls(name, seed)
            if signer.to_text() != text:
                raise ValueError("its parts do not belong together")
        except ValueError as error:
            raise TrustError(
                f"this is no private key: {error}; nothing was signed. "
                "Give the file that 'step-audit keygen' wrote."
            ) from error
        return signer

    def sign(self, text: bytes) -> bytes:
        """Sign bytes: 64 bytes."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
            Ed25519PrivateKey,
        )

        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(text)


def generate_key(name: str) -> SignerKey:
    """Make a new key; its name is best a URL without scheme, like ``example.com/audit``.

    Raises:
        UsageError: this can be no name.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
        Ed25519PrivateKey,
    )

    if not _is_name(name):
        raise UsageError(
            f"{name!r} cannot name a key, which is one word without '+'; nothing was written. "
            "Name it like a URL without scheme: example.com/audit."
        )
    return SignerKey(name, Ed25519PrivateKey.generate().private_bytes_raw())


def sign_note(text: str, signer_key: str) -> str:
    """Sign a text, which ends in a newline; gives the note.

    Raises:
        TrustError: the key cannot be read, or the text cannot stand in a note.
    """
    signer = SignerKey.from_text(signer_key)
    if not text.endswith("\n") or not _is_plain(text):
        raise TrustError(
            "this text cannot be signed: it is not made of plain lines; nothing was signed. "
            "Sign lines without control characters, each with its newline."
        )
    signature = encode_base64(signer.verifier.id + signer.sign(text.encode()))
    return f"{text}\n{_SIGNATURE}{signer.name} {signature}\n"


def open_note(note: str, verifier_key: str) -> str:
    """Check a note's signature by this key, and give its text; other signatures do not count.

    Raises:
        TrustError: the note or the key cannot be read.
        NotProvedError: the note is not signed by this key, or the signature is wrong.
    """
    verifier = VerifierKey.from_text(verifier_key)
    try:
        text, signatures = _read_note(note)
    except ValueError as error:
        raise TrustError(
            f"this is no signed note: {error}; nothing was checked. Get it anew, as a whole."
        ) from error
    ours = [
        signature[_ID_SIZE:]
        for name, signature in signatures
        if (name, signature[:_ID_SIZE]) == (verifier.name, verifier.id)
    ]
    if not ours:
        signers = ", ".join(
            f"{name}+{signature[:_ID_SIZE].hex()}" for name, signature in signatures
        )
        raise NotProvedError(
            f"the note is not signed by {verifier.name}+{verifier.id.hex()} but by {signers!r}. "
            "Do not rely on it, unless you gave the wrong public key."
        )
    if not all(_is_signed(verifier, text.encode(), signature) for signature in ours):
        raise NotProvedError(
            f"the note's signature by {verifier.name!r} is wrong: the note was changed after "
            "it was signed, or not signed by that key. Do not rely on it."
        )
    return text


def _read_note(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """The text, and name and bytes of each signature."""
    if len(note) > _MAX_NOTE:
        raise ValueError("it is too long")
    if not _is_plain(note):
        raise ValueError("it is not plain text")
    text, blank_line, lines = note.rpartition("\n\n")
    if not blank_line or not lines.endswith("\n"):
        raise ValueError("it does not end in lines of signatures")
    signatures = lines.removesuffix("\n").split("\n")
    if len(signatures) > _MAX_SIGNATURES:
        raise ValueError(f"it has more than {_MAX_SIGNATURES} signatures")
    return text + "\n", [_read_signature(line) for line in signatures]


def _read_signature(line: str) -> tuple[str, bytes]:
    name, space, encoded = line.removeprefix(_SIGNATURE).partition(" ")
    if not line.startswith(_SIGNATURE) or not space or not _is_name(name):
        raise ValueError("a line is no signature")
    signature = decode_base64(encoded)
    if len(signature) <= _ID_SIZE:
        raise ValueError("a signature is too short")
    return name, signature


def _is_signed(verifier: VerifierKey, text: bytes, signature: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
        Ed25519PublicKey,
    )

    try:
        Ed25519PublicKey.from_public_bytes(verifier.public_key).verify(signature, text)
    except InvalidSignature:
        return False
    return True


def _join(name: str, key_id: bytes, key: bytes) -> str:
    return f"{name}+{key_id.hex()}+{encode_base64(_ED25519 + key)}"


def _split(text: str) -> tuple[str, bytes]:
    """Name and key of ``<name>+<id>+<base64>``; the id is left to be checked."""
    name, *rest = text.split("+", 2)
    if len(rest) < 2 or not _is_name(name):  # noqa: PLR2004
        raise ValueError("it has not the form <name>+<id>+<base64>")
    key = decode_base64(rest[1])
    if key[:1] != _ED25519 or len(key) != 1 + _KEY_SIZE:
        raise ValueError("it is none of Ed25519")
    return name, key[1:]


def _is_name(name: str) -> bool:
    odd = (character for character in name if character == "+" or character.isspace())
    return bool(name) and _is_plain(name) and not any(odd)


def _is_plain(text: str) -> bool:
    """Whether it is Unicode text without ASCII control characters but newlines."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return all(character >= " " or character == "\n" for character in text)
