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

# PostgreSQL's system identifier is of 64 bits, its timeline of 32.
_SERVER = re.compile(r"step-audit system ([1-9][0-9]{0,19}) timeline ([1-9][0-9]{0,9})")
_SERVER_LINE = "step-audit system "
_MAX_SYSTEM, _MAX_TIMELINE = 2**64 - 1, 2**32 - 1

_SEAL_LINE = "step-audit seal "


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a log's tree. ``origin`` names the log, as its key does.

    ``system_identifier`` and ``timeline`` are of the server that the head was read from: both, or
    None where they are not known. ``seal_hash`` is of the seal that made the log so long, see
    :func:`step_audit.trust.seal.hash_seal`: None where nothing is sealed.
    """

    origin: str
    tree_size: int
    root_hash: bytes
    system_identifier: int | None = None
    timeline: int | None = None
    seal_hash: bytes | None = None

    def to_text(self) -> str:
        """The text to sign: three lines, and what is known of server and seal, a line each."""
        lines = [self.origin, str(self.tree_size), encode_base64(self.root_hash)]
        if self.system_identifier is not None and self.timeline is not None:
            lines.append(f"{_SERVER_LINE}{self.system_identifier} timeline {self.timeline}")
        if self.seal_hash is not None:
            lines.append(f"{_SEAL_LINE}{encode_base64(self.seal_hash)}")
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def from_text(cls, text: str) -> Checkpoint:
        """Read such a text; what others have written after the third line is left aside.

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
        origin, size, root, *further = lines
        if not _DECIMAL.fullmatch(size) or int(size) > _MAX_SIZE:
            raise ValueError("its second line is not the size of a log")
        root_hash = decode_base64(root)
        if len(root_hash) != HASH_SIZE:
            raise ValueError(f"its third line is not a hash of {HASH_SIZE} bytes")
        return cls(origin, int(size), root_hash, *_read_server(further), _read_seal(further))


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


def _read_server(lines: list[str]) -> tuple[int | None, int | None]:
    """System identifier and timeline, from the lines after the third."""
    ours = [line for line in lines if line.startswith(_SERVER_LINE)]
    if not ours:
        return None, None
    found = _SERVER.fullmatch(ours[0])
    if len(ours) > 1 or not found:
        raise ValueError(f"it does not have one line '{_SERVER_LINE}<number> timeline <number>'")
    system_identifier, timeline = int(found[1]), int(found[2])
    if system_identifier > _MAX_SYSTEM or timeline > _MAX_TIMELINE:
        raise ValueError("its system identifier or timeline is larger than any")
    return system_identifier, timeline


def _read_seal(lines: list[str]) -> bytes | None:
    """The hash of the seal, from the lines after the third."""
    ours = [line for line in lines if line.startswith(_SEAL_LINE)]
    if not ours:
        return None
    seal_hash = decode_base64(ours[0].removeprefix(_SEAL_LINE)) if len(ours) == 1 else b""
    if len(seal_hash) != HASH_SIZE:
        raise ValueError(f"it does not have one line '{_SEAL_LINE}<base64 of {HASH_SIZE} bytes>'")
    return seal_hash
