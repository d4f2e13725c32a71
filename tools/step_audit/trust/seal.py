"""A seal as a checkpoint signs it: the canonical text of its row, and the hash of that."""

from __future__ import annotations

import hashlib
import json
import re

VERSION = "step-audit seal 1"

_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_WAITING = re.compile(rf"\{{(?:{_UUID}(?:,{_UUID})*)?\}}")


def write_seal(
    tree_size: int, sealed_at: str, covered: str | None, place: str | None, waiting: str | None
) -> str:
    """The text of a seal, as docs/sealing.md tells; each column but the first as COPY prints it."""
    elements = [VERSION, tree_size, sealed_at.replace(" ", "T", 1), covered, place, waiting]
    return json.dumps(elements, ensure_ascii=False)


def hash_seal(text: str) -> bytes:
    """What a checkpoint signs of it: SHA-256 of its UTF-8."""
    return hashlib.sha256(text.encode()).digest()


def read_waiting(text: str | None) -> frozenset[str]:
    """The audit rows that a seal left for a later one, from its column as COPY prints it.

    Raises:
        ValueError: it is no plain list of them, which no seal writes: an array may also have NULL
            in it, other bounds, or arrays.
    """
    if text is None:
        return frozenset()
    if not _WAITING.fullmatch(text):
        raise ValueError("waiting is no plain list of audit rows")
    return frozenset(filter(None, text[1:-1].split(",")))


def check_seal(text: str) -> None:
    """See whether the text of a seal says what a seal can.

    Raises:
        ValueError: it does not.
    """
    read_waiting(json.loads(text)[-1])
