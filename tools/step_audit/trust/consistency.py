"""That a log extends an older one: the proof, and its file.

The file has the form of the body that a witness (c2sp.org/tlog-witness) is sent by add-checkpoint:
``old`` and the older log's size, the hashes of the RFC 6962 consistency proof in base64, one a
line, an empty line, and the newer log's checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from step_audit.errors import NotProvedError, TrustError
from step_audit.trust.checkpoint import Checkpoint, open_checkpoint
from step_audit.trust.encoding import decode_base64, encode_base64
from step_audit.trust.merkle import HASH_SIZE, root_from_consistency_path, tree_root

_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")
# The longest that a proof of sizes below 2^63 can be.
_MAX_HASHES = 63


@dataclass(frozen=True, slots=True)
class ConsistencyProof:
    """What a proof's file holds; nothing of it has been checked."""

    old_size: int
    path: tuple[bytes, ...]
    checkpoint_note: str

    def to_text(self) -> str:
        """The file."""
        lines = [f"old {self.old_size}", *map(encode_base64, self.path), "", self.checkpoint_note]
        return "\n".join(lines)

    @classmethod
    def from_text(cls, text: str) -> ConsistencyProof:
        """Read such a file.

        Raises:
            TrustError: it is something else.
        """
        try:
            return cls._read(text)
        except ValueError as error:
            raise TrustError(
                f"this is no consistency proof: {error}; nothing was checked. "
                "Get it anew, as a whole."
            ) from error

    @classmethod
    def _read(cls, text: str) -> ConsistencyProof:
        head, empty_line, note = text.partition("\n\n")
        first, *lines = head.split("\n")
        old = _OLD.fullmatch(first)
        if not old:
            raise ValueError("it does not begin with the size of the older log")
        if not empty_line:
            raise ValueError("no checkpoint follows after an empty line")
        if len(lines) > _MAX_HASHES:
            raise ValueError(f"it has more than {_MAX_HASHES} hashes")
        path = tuple(map(decode_base64, lines))
        if any(len(each) != HASH_SIZE for each in path):
            raise ValueError(f"a line is not the base64 of {HASH_SIZE} bytes")
        return cls(int(old[1]), path, note)


def needs_proof(old: Checkpoint, new: Checkpoint) -> bool:
    """Whether the two checkpoints do not show by themselves that one extends the other, or not."""
    return 0 < old.tree_size < new.tree_size


def check_extends(old: Checkpoint, new: Checkpoint, path: Sequence[bytes] = ()) -> None:
    """Check that the newer log begins with the older one, by the RFC 6962 consistency proof.

    Raises:
        ValueError: it does not, or the path does not show it.
    """
    if old.origin != new.origin:
        raise ValueError(f"one is of the log {old.origin!r}, the other of {new.origin!r}")
    if new.tree_size < old.tree_size:
        raise ValueError(f"the log has {new.tree_size} records, and had {old.tree_size} before")
    if not needs_proof(old, new):
        if path:
            raise ValueError(f"the path has {len(path)} hashes, which is too many")
        expected = tree_root([]) if old.tree_size == 0 else new.root_hash
        if old.root_hash != expected:
            raise ValueError(f"two logs of {old.tree_size} records have different roots")
        if len({old.seal_hash, new.seal_hash} - {None}) > 1:
            raise ValueError(f"two logs of {old.tree_size} records have different last seals")
        return
    root = root_from_consistency_path(old.tree_size, old.root_hash, new.tree_size, path)
    if root != new.root_hash:
        raise ValueError("the path does not lead to the newer root")


def check_proof(old: Checkpoint, new: Checkpoint, text: str, verifier_key: str) -> None:
    """Check by a proof's file that one checkpoint extends another; both are checked already.

    Raises:
        TrustError: the proof cannot be read.
        NotProvedError: it is of other checkpoints, or false.
    """
    proof = ConsistencyProof.from_text(text)
    proved = open_checkpoint(proof.checkpoint_note, verifier_key)
    sizes = proof.old_size, proved.tree_size, proved.root_hash
    if sizes != (old.tree_size, new.tree_size, new.root_hash):
        raise NotProvedError(
            f"the proof is of other checkpoints, of {proof.old_size} and {proved.tree_size} "
            f"records, not of {old.tree_size} and {new.tree_size}; it shows nothing here. "
            "Give the file that was written beside the newer checkpoint."
        )
    try:
        check_extends(old, new, proof.path)
    except ValueError as error:
        raise NotProvedError(
            f"the proof does not show that the newer checkpoint extends the older one: {error}. "
            "Do not rely on the newer one."
        ) from error
