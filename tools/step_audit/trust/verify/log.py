"""The log as a whole: its leaves in order, the roots over them, the subtrees that are stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from step_audit.trust.merkle import node_hash, tree_root
from step_audit.trust.verify.report import Finding

BLOCK = 256
"""Leaves below a stored subtree of height 1; as many of these are below one of height 2."""

RANGE = 32 * BLOCK
"""Leaves that are looked at together."""

MAX_HEIGHT = 7


@dataclass
class Leaves:
    """The leaf hashes of a range of the log, folded into the roots of its full blocks.

    ``gaps`` are the ranges without a leaf, first and last; ``rest`` the hashes behind the last
    full block.
    """

    first: int
    until: int
    roots: list[bytes] = field(default_factory=list)
    rest: list[bytes] = field(default_factory=list)
    gaps: list[tuple[int, int]] = field(default_factory=list)
    twice: list[int] = field(default_factory=list)


def fold(first: int, until: int, hashes: Mapping[int, bytes], twice: Iterable[int] = ()) -> Leaves:
    """Fold the leaf hashes of a range, which begins at a block, by their indexes."""
    assert first % BLOCK == 0
    leaves = Leaves(first, until, twice=sorted(twice))
    ordered = []
    for index in range(first, until):
        found = hashes.get(index)
        if found is None:
            if leaves.gaps and leaves.gaps[-1][1] == index - 1:
                leaves.gaps[-1] = (leaves.gaps[-1][0], index)
            else:
                leaves.gaps.append((index, index))
        ordered.append(found or b"")
    full = len(ordered) // BLOCK * BLOCK
    leaves.roots = [tree_root(ordered[at : at + BLOCK]) for at in range(0, full, BLOCK)]
    leaves.rest = ordered[full:]
    return leaves


@dataclass
class Log:
    """What is known of all leaves up to ``size``: the roots of the full blocks, and the rest."""

    size: int
    roots: list[bytes]
    rest: list[bytes]
    gaps: list[tuple[int, int]]
    twice: list[int]

    @classmethod
    def of(cls, ranges: Iterable[Leaves]) -> Log:
        """Put the ranges of a log together, in their order."""
        log = cls(0, [], [], [], [])
        for leaves in sorted(ranges, key=lambda each: each.first):
            assert leaves.first == log.size
            log.size = leaves.until
            log.roots += leaves.roots
            log.rest = leaves.rest
            log.twice += leaves.twice
            for first, last in leaves.gaps:
                if log.gaps and log.gaps[-1][1] == first - 1:
                    log.gaps[-1] = (log.gaps[-1][0], last)
                else:
                    log.gaps.append((first, last))
        return log

    def root(self, size: int, tail: list[bytes]) -> bytes:
        """The root over the first ``size`` leaves; ``tail``: those behind its last full block."""
        assert len(tail) == size % BLOCK
        return _join(self.roots[: size // BLOCK], tail)

    def findings(self) -> Iterator[Finding]:
        """What the indexes of the leaves say."""
        for first, last in self.gaps:
            place = f"leaf {first}" if first == last else f"leaves {first} to {last}"
            yield Finding("missing leaf", field=place)
        for index in self.twice:
            yield Finding("unsealed leaf", field=f"leaf {index}", expected="one leaf of this index")


def _join(roots: list[bytes], tail: list[bytes]) -> bytes:
    """The root over full blocks and the leaves behind them: RFC 6962, as blocks are full trees."""
    complete: list[bytes] = []
    for index, root in enumerate(roots):
        node, bits = root, index
        while bits & 1:
            node = node_hash(complete.pop(), node)
            bits >>= 1
        complete.append(node)
    if tail or not complete:
        complete.append(tree_root(tail))
    root = complete.pop()
    while complete:
        root = node_hash(complete.pop(), root)
    return root


def check_subtrees(log: Log, stored: Mapping[tuple[int, int], bytes]) -> Iterator[Finding]:
    """Compare the stored subtrees, by height and index, with the leaves, and with each other."""
    below: Mapping[int, bytes] = dict(enumerate(log.roots))
    expected_keys = set()
    width = BLOCK
    for height in range(1, MAX_HEIGHT + 1):
        count = log.size // width
        for index in range(count):
            expected_keys.add((height, index))
            found = stored.get((height, index))
            computed = (
                below[index]
                if height == 1
                else tree_root_of_nodes([below.get(n, b"") for n in _children(index)])
            )
            if found != computed:
                place = f"subtree {index} of leaves {index * width} to {(index + 1) * width - 1}"
                yield Finding(
                    "altered log",
                    field=place,
                    stored=None if found is None else found.hex(),
                    expected=computed.hex(),
                )
        below = {index: root for (at, index), root in stored.items() if at == height}
        width *= BLOCK
    for (height, index), root in stored.items():
        if (height, index) not in expected_keys:
            place = f"subtree {index} of height {height}"
            yield Finding("altered log", field=place, stored=root.hex())


def _children(index: int) -> range:
    return range(index * BLOCK, (index + 1) * BLOCK)


def tree_root_of_nodes(nodes: list[bytes]) -> bytes:
    """The root over full subtrees of the same size, a power of two of them."""
    while len(nodes) > 1:
        nodes = [node_hash(nodes[at], nodes[at + 1]) for at in range(0, len(nodes), 2)]
    return nodes[0]
