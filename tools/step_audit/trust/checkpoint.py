"""A log's size and root at one time, and its signed form: C2SP's c2sp.org/tlog-checkpoint."""

from __future__ import annotations

import re
from dataclasses import dataclass

from step_audit.errors import NotProvedError, TrustError
from step_audit.trust.encoding import decode_base64, encode_base64
from step_audit.trust.merkle import HASH_SIZE
from step_audit.trust.note import SignerKey, VerifierKey, open_note, sign_note

_MAX_SIZE = 2**63 - 1
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a log's tree. ``origin`` names the log, as its key does."""

    origin: str
    tree_size: int
    root_hash: bytes

    def to_text(self) -> str:
        """The text to sign: three lines."""
        return f"{self.origin}\n{self.tree_size}\n{encode_base64(self.root_hash)}\n"

    @classmethod
    def from_text(cls, text: str) -> Checkpoint:
        """Read such a text; lines after the third are left aside.

        Raises:
            TrustError: it is something else.
        """
        try:
            return cls._read(text)
        except ValueError as error:
            raise TrustError(
                f"this is no checkpoint: {error}; nothing was checked. Get it anew, as a whole."
            ) from error

    @classmethod
    def _read(cls, text: str) -> Checkpoint:
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop() or not all(lines):  # noqa: PLR2004
            raise ValueError("it is not made of three or more lines")
        origin, size, root = lines[:3]
        if not _DECIMAL.fullmatch(size) or int(size) > _MAX_SIZE:
            raise ValueError("its second line is not the size of a log")
        root_hash = decode_base64(root)
        if len(root_hash) != HASH_SIZE:
            raise ValueError(f"its third line is not a hash of {HASH_SIZE} bytes")
        return cls(origin, int(size), root_hash)


def sign_checkpoint(checkpoint: Checkpoint, signer_key: str) -> str:
    """Sign a checkpoint with the key that its origin names; gives the note.

    Raises:
        TrustError: the key cannot be read, or has another name.
    """
    name = SignerKey.from_text(signer_key).name
    if name != checkpoint.origin:
        raise TrustError(
            f"the key of {name!r} does not sign for {checkpoint.origin!r}; nothing was signed. "
            "Sign with the log's own key."
        )
    return sign_note(checkpoint.to_text(), signer_key)


def open_checkpoint(note: str, verifier_key: str) -> Checkpoint:
    """Check a signed checkpoint by the key of its log, and read it.

    Raises:
        TrustError: the note or the key cannot be read.
        NotProvedError: it is not signed by this key, or for another log.
    """
    checkpoint = Checkpoint.from_text(open_note(note, verifier_key))
    name = VerifierKey.from_text(verifier_key).name
    if checkpoint.origin != name:
        raise NotProvedError(
            f"the checkpoint is of the log {checkpoint.origin!r}, but signed by {name!r}. "
            "Do not rely on it."
        )
    return checkpoint
