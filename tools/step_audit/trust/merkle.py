"""The Merkle tree of RFC 6962 (section 2.1) with SHA-256; every hash is 32 bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

HASH_SIZE = 32


def leaf_hash(leaf: bytes) -> bytes:
    """Hash of a leaf's bytes."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node, from those of its children."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def tree_root(leaf_hashes: Iterable[bytes]) -> bytes:
    """Root of the tree over the leaves with these hashes, of which only few are held at a time."""
    # Roots of complete subtrees, the largest first: one for each bit set in the count.
    complete: list[bytes] = []
    for index, leaf in enumerate(leaf_hashes):
        node, bits = leaf, index
        while bits & 1:
            node = node_hash(complete.pop(), node)
            bits >>= 1
        complete.append(node)
    if not complete:
        return hashlib.sha256().digest()
    root = complete.pop()
    while complete:
        root = node_hash(complete.pop(), root)
    return root


def root_from_inclusion_path(
    index: int, tree_size: int, leaf: bytes, path: Sequence[bytes]
) -> bytes:
    """Root of a tree of ``tree_size`` leaves, from a leaf's hash and its audit path.

    Args:
        index: of the leaf, from 0.
        tree_size: number of leaves.
        leaf: the leaf's hash.
        path: the hashes beside the way up to the root, the lowest first.

    Raises:
        ValueError: there is no such leaf, or its path is of another length.
    """
    if not 0 <= index < tree_size:
        raise ValueError(f"a tree of {tree_size} leaves has no leaf {index}")
    _check_sizes([leaf, *path])
    root, place, last = leaf, index, tree_size - 1
    for beside in path:
        if last == 0:
            raise ValueError(f"the path has {len(path)} hashes, which is too many")
        if place & 1 or place == last:
            root = node_hash(beside, root)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            root = node_hash(root, beside)
        place, last = place >> 1, last >> 1
    if last:
        raise ValueError(f"the path has {len(path)} hashes, which is too few")
    return root


def root_from_consistency_path(
    old_size: int, old_root: bytes, new_size: int, path: Sequence[bytes]
) -> bytes:
    """Root of the tree of ``new_size`` leaves that begins with the tree of ``old_size``.

    Args:
        old_size: number of leaves of the older tree, at least 1.
        old_root: its root.
        new_size: number of leaves of the newer tree.
        path: the consistency proof between the two.

    Raises:
        ValueError: the path does not begin with the older tree, or is of another length.
    """
    if not 0 < old_size <= new_size:
        raise ValueError(f"a tree of {new_size} leaves begins with none of {old_size}")
    _check_sizes([old_root, *path])
    place, last = old_size - 1, new_size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    if old_size == new_size:
        place = last = 0
    # Where the older tree is a subtree of the newer one, the path leaves its root out.
    start, *rest = [old_root, *path] if place == 0 else path or [old_root]
    old = new = start
    for beside in rest:
        if last == 0:
            raise ValueError(f"the path has {len(path)} hashes, which is too many")
        if place & 1 or place == last:
            old, new = node_hash(beside, old), node_hash(beside, new)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            new = node_hash(new, beside)
        place, last = place >> 1, last >> 1
    if last:
        raise ValueError(f"the path has {len(path)} hashes, which is too few")
    if old != old_root:
        raise ValueError("the path does not begin with the older tree")
    return new


def _check_sizes(hashes: Iterable[bytes]) -> None:
    if any(len(each) != HASH_SIZE for each in hashes):
        raise ValueError(f"a hash is not {HASH_SIZE} bytes long")
