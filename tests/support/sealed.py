"""A sealed log that was never in a database: records, a key, and proofs."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any

from step_audit.trust.checkpoint import Checkpoint, sign_checkpoint
from step_audit.trust.leaf import Opening
from step_audit.trust.note import SignerKey
from step_audit.trust.proof import build_proof, write_proof
from tests.support.tree import inclusion_path, root

# A key of these tests alone.
SIGNER = SignerKey("example.com/audit", bytes(range(32)))
SIGNER_KEY, VERIFIER_KEY = SIGNER.to_text(), SIGNER.verifier.to_text()

SALT = bytes(range(16))
METADATA = '{"event": {"data": {"success": true}, "note": "tab \\t, é, \\"quoted\\""}}'


def leaf_elements(index: int, metadata: str | None = METADATA) -> list[Any]:
    """The elements of a leaf, written out from the documentation."""
    step = str(uuid.UUID(int=index * 10))
    recorded_by = b'"engine"' if index % 2 else b"null"
    private = recorded_by + b"\n" + (metadata or "").encode()
    return [
        "step-audit 2",
        "result",
        index,
        str(uuid.UUID(int=index * 10 + 1)),
        step,
        str(uuid.UUID(int=index * 10 + 2)),
        str(uuid.UUID(int=index * 10 + 3)),
        "2026-11-22T10:00:00.12",
        str(uuid.UUID(int=7)) if index % 2 else None,
        None,
        index % 3 > 0,
        False,
        index if index % 2 else None,
        "2026-11-22T10:00:00.12",
        "2026-11-22T10:00:00.12",
        735 + index,
        step,
        "in_progress",
        "enqueued_for_orchestration",
        "2026-11-22T10:00:00.119999",
        hashlib.sha256(SALT + private).hexdigest(),
    ]


def leaf_text(index: int, metadata: str | None = METADATA) -> str:
    return json.dumps(leaf_elements(index, metadata), ensure_ascii=False)


def opening_of(index: int, metadata: str | None = METADATA) -> Opening:
    return Opening(SALT, "engine" if index % 2 else None, metadata)


def make_proof(
    index: int, size: int, metadata: str | None = METADATA, withheld: bool = False
) -> str:
    """The proof of a record, all of whose neighbours hold the same metadata."""
    leaves = [leaf_text(each, metadata).encode() for each in range(size)]
    note = sign_checkpoint(Checkpoint(SIGNER.name, size, root(leaves)), SIGNER_KEY)
    path = inclusion_path(index, leaves)
    shown = None if withheld else opening_of(index, metadata)
    return write_proof(build_proof(leaves[index].decode(), shown, path, note))
