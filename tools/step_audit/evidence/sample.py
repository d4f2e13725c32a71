"""A sample that neither side chooses: leaves drawn by the root hash of a signed checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import count

from step_audit.trust.checkpoint import Checkpoint

_PURPOSE = b"step-audit sample 1\n"
_DRAWN_BYTES = 16


def draw_leaves(seed: Checkpoint) -> Iterator[int]:
    """The leaves of the checkpoint's log, each once, in the order in which they are drawn.

    The number ``n``, from 0, draws the leaf ``h mod tree_size``, where ``h`` are the first 16 bytes
    of SHA-256 over the purpose, the root hash and ``n`` in eight bytes; what was drawn is passed.
    """
    drawn: set[int] = set()
    for number in count():
        if len(drawn) == seed.tree_size:
            return
        digest = hashlib.sha256(_PURPOSE + seed.root_hash + number.to_bytes(8, "big")).digest()
        leaf = int.from_bytes(digest[:_DRAWN_BYTES], "big") % seed.tree_size
        if leaf not in drawn:
            drawn.add(leaf)
            yield leaf
