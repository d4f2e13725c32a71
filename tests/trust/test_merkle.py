"""The tree is RFC 6962's: by published vectors, by its definition, and by another library."""

from __future__ import annotations

import hashlib

import pymerkle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from step_audit.trust import merkle
from tests.support import tree

# Inputs, roots and proofs of the test vectors of Certificate Transparency's reference
# implementation (github.com/google/certificate-transparency, merkle_tree_test).
CT_LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
CT_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
CT_INCLUSION = [
    (0, 1, ""),
    (
        0,
        8,
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (
        5,
        8,
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 3, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
    (
        1,
        5,
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
]
CT_CONSISTENCY = [
    (1, 1, ""),
    (
        1,
        8,
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (
        6,
        8,
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (
        2,
        5,
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
]

SIZES = range(1, 71)
LEAVES = [str(number).encode() for number in range(max(SIZES))]
HASHES = [merkle.leaf_hash(leaf) for leaf in LEAVES]


def hashes(joined: str) -> list[bytes]:
    return [bytes.fromhex(joined[at : at + 64]) for at in range(0, len(joined), 64)]


@pytest.mark.parametrize("size", range(len(CT_ROOTS)))
def test_roots_of_the_reference_implementation(size: int) -> None:
    root = merkle.tree_root(map(merkle.leaf_hash, CT_LEAVES[:size]))
    assert root.hex() == CT_ROOTS[size]


@pytest.mark.parametrize(("index", "size", "path"), CT_INCLUSION)
def test_inclusion_paths_of_the_reference_implementation(index: int, size: int, path: str) -> None:
    leaf = merkle.leaf_hash(CT_LEAVES[index])
    found = merkle.root_from_inclusion_path(index, size, leaf, hashes(path))
    assert found.hex() == CT_ROOTS[size]


@pytest.mark.parametrize(("old", "new", "path"), CT_CONSISTENCY)
def test_consistency_paths_of_the_reference_implementation(old: int, new: int, path: str) -> None:
    old_root = bytes.fromhex(CT_ROOTS[old])
    found = merkle.root_from_consistency_path(old, old_root, new, hashes(path))
    assert found.hex() == CT_ROOTS[new]


def test_example_of_section_2_1_3() -> None:
    d = [f"d{number}".encode() for number in range(7)]
    a, b, c, d3, e, f, j = map(merkle.leaf_hash, d)
    g, h, i = merkle.node_hash(a, b), merkle.node_hash(c, d3), merkle.node_hash(e, f)
    k, el = merkle.node_hash(g, h), merkle.node_hash(i, j)
    whole = merkle.node_hash(k, el)
    assert merkle.tree_root([a, b, c, d3, e, f, j]) == whole
    for index, leaf, path in [
        (0, a, [b, h, el]),
        (3, d3, [c, g, el]),
        (4, e, [f, j, k]),
        (6, j, [i, k]),
    ]:
        assert merkle.root_from_inclusion_path(index, 7, leaf, path) == whole
    hash0 = merkle.node_hash(g, c)
    hash2 = merkle.node_hash(k, i)
    for size, root, path in [(3, hash0, [c, d3, g, el]), (4, k, [el]), (6, hash2, [i, j, k])]:
        assert merkle.root_from_consistency_path(size, root, 7, path) == whole


@pytest.mark.parametrize("size", SIZES)
def test_root_and_every_path_of_a_tree(size: int) -> None:
    root = tree.root(LEAVES[:size])
    assert merkle.tree_root(HASHES[:size]) == root
    for index in range(size):
        path = tree.inclusion_path(index, LEAVES[:size])
        assert merkle.root_from_inclusion_path(index, size, HASHES[index], path) == root


@pytest.mark.parametrize("size", [*range(1, 18), 31, 32, 33, 70])
def test_every_older_tree_is_consistent(size: int) -> None:
    root = tree.root(LEAVES[:size])
    for old in range(1, size + 1):
        path = tree.consistency_path(old, LEAVES[:size])
        old_root = tree.root(LEAVES[:old])
        assert merkle.root_from_consistency_path(old, old_root, size, path) == root


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=80), st.data())
def test_another_library_finds_the_same(leaves: list[bytes], data: st.DataObject) -> None:
    other = pymerkle.InmemoryTree(algorithm="sha256")
    for leaf in leaves:
        other.append_entry(leaf)
    size = data.draw(st.integers(1, len(leaves)))
    index = data.draw(st.integers(0, size - 1))
    root = other.get_root(size)
    assert merkle.tree_root(map(merkle.leaf_hash, leaves[:size])) == root
    leaf, *path = other.prove_inclusion(index + 1, size).path
    assert leaf == merkle.leaf_hash(leaves[index])
    assert merkle.root_from_inclusion_path(index, size, leaf, path) == root


@given(st.integers(1, 70), st.data())
def test_another_place_size_leaf_or_path_leads_elsewhere(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    root, path = tree.root(LEAVES[:size]), tree.inclusion_path(index, LEAVES[:size])
    other_index = data.draw(st.integers(-1, 72).filter(lambda other: other != index))
    assert _root(other_index, size, HASHES[index], path) != root
    assert _root(index, size, hashlib.sha256(b"other").digest(), path) != root
    assert _root(index, size, HASHES[index], [*path, root]) is None
    for at, beside in enumerate(path):
        changed = bytes([beside[0] ^ 1]) + beside[1:]
        assert _root(index, size, HASHES[index], [*path[:at], changed, *path[at + 1 :]]) != root
        assert _root(index, size, HASHES[index], path[:at] + path[at + 1 :]) is None


@given(st.integers(2, 70), st.data())
def test_a_tree_that_begins_otherwise_is_not_consistent(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, size - 1))
    root, old_root = tree.root(LEAVES[:size]), tree.root(LEAVES[:old])
    path = tree.consistency_path(old, LEAVES[:size])
    for at, beside in enumerate(path):
        changed = [*path[:at], bytes([beside[0] ^ 1]) + beside[1:], *path[at + 1 :]]
        assert _new_root(old, old_root, size, changed) != root
        assert _new_root(old, old_root, size, path[:at] + path[at + 1 :]) != root
    assert _new_root(old, old_root, size, [*path, root]) is None
    another = tree.root([b"another", *LEAVES[1:old]])
    assert _new_root(old, another, size, path) != root


def _root(index: int, size: int, leaf: bytes, path: list[bytes]) -> bytes | None:
    try:
        return merkle.root_from_inclusion_path(index, size, leaf, path)
    except ValueError:
        return None


def _new_root(old: int, old_root: bytes, size: int, path: list[bytes]) -> bytes | None:
    try:
        return merkle.root_from_consistency_path(old, old_root, size, path)
    except ValueError:
        return None


@pytest.mark.parametrize(
    ("index", "size", "path", "message"),
    [
        (1, 1, 0, "a tree of 1 leaves has no leaf 1"),
        (-1, 1, 0, "a tree of 1 leaves has no leaf -1"),
        (0, 0, 0, "a tree of 0 leaves has no leaf 0"),
        (0, 8, 2, "the path has 2 hashes, which is too few"),
        (0, 8, 4, "the path has 4 hashes, which is too many"),
        (0, 2**62, 1, "the path has 1 hashes, which is too few"),
    ],
)
def test_path_that_fits_no_leaf(index: int, size: int, path: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        merkle.root_from_inclusion_path(index, size, HASHES[0], HASHES[:path])


def test_hash_of_another_size() -> None:
    with pytest.raises(ValueError, match="a hash is not 32 bytes long"):
        merkle.root_from_inclusion_path(0, 2, HASHES[0], [HASHES[1][:31]])


@pytest.mark.parametrize(
    ("old", "new", "path", "message"),
    [
        (0, 1, 0, "a tree of 1 leaves begins with none of 0"),
        (3, 2, 0, "a tree of 2 leaves begins with none of 3"),
        (3, 7, 3, "the path has 3 hashes, which is too few"),
        (3, 7, 0, "the path has 0 hashes, which is too few"),
        (4, 7, 2, "the path has 2 hashes, which is too many"),
        (2, 2, 1, "the path has 1 hashes, which is too many"),
    ],
)
def test_consistency_path_that_fits_no_trees(old: int, new: int, path: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        merkle.root_from_consistency_path(old, HASHES[0], new, HASHES[:path])
