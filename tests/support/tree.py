"""RFC 6962's tree by the recursion that defines it (section 2.1), slow and plain."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def root(leaves: Sequence[bytes]) -> bytes:
    """MTH(D[n])."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    k = split(len(leaves))
    return hashlib.sha256(b"\1" + root(leaves[:k]) + root(leaves[k:])).digest()


def inclusion_path(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH(m, D[n])."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*inclusion_path(m, leaves[:k]), root(leaves[k:])]
    return [*inclusion_path(m - k, leaves[k:]), root(leaves[:k])]


def consistency_path(m: int, leaves: Sequence[bytes], complete: bool = True) -> list[bytes]:
    """PROOF(m, D[n]), and SUBPROOF(m, D[n], complete)."""
    if m == len(leaves):
        return [] if complete else [root(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*consistency_path(m, leaves[:k], complete), root(leaves[k:])]
    return [*consistency_path(m - k, leaves[k:], complete=False), root(leaves[:k])]


def split(n: int) -> int:
    """The largest power of two below n."""
    k = 1
    while k * 2 < n:
        k *= 2
    return k
