"""A seal as a checkpoint signs it: the canonical text of its row, and the hash of that."""

from __future__ import annotations

import hashlib
import json

VERSION = "step-audit seal 1"


def write_seal(
    tree_size: int, sealed_at: str, covered: str | None, place: str | None, waiting: str | None
) -> str:
    """The text of a seal, as docs/sealing.md tells; each column but the first as COPY prints it."""
    elements = [VERSION, tree_size, sealed_at.replace(" ", "T", 1), covered, place, waiting]
    return json.dumps(elements, ensure_ascii=False)


def hash_seal(text: str) -> bytes:
    """What a checkpoint signs of it: SHA-256 of its UTF-8."""
    return hashlib.sha256(text.encode()).digest()
