"""What must stand in the database, by the journal that was kept outside of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from uuid import UUID

from tests.chaos import audit
from tests.chaos.journal import ACKNOWLEDGED, FAILED, IN_DOUBT, Entry
from tests.chaos.watchers import Kept, Verified
from tests.support.tree import split

# Results and audit rows of one transition.
Counts = dict[UUID, tuple[int, int]]

KEPT = "kept"
LOST = "lost"
EITHER = "either"


def fate(before: int, after: int | None, generation: int, flushed: Sequence[int]) -> str:
    """What failovers leave of what was committed between two positions of the WAL.

    Args:
        before: a position of the WAL from before it was written.
        after: one from after its commit; None where none could be read.
        generation: how many failovers there had been.
        flushed: for each failover, up to where the standby had flushed.
    """
    for survived in flushed[generation:]:
        if after is None or after > survived:
            return LOST if before >= survived else EITHER
    return KEPT


def check_results(
    entries: Sequence[Entry], found: Counts, flushed: Sequence[int], synchronous: bool
) -> Iterator[str]:
    """What is wrong with the results and audit rows that were found."""
    known = {each for entry in entries for each in _results(entry)}
    for key in found.keys() - known:
        yield f"{key}: nobody wrote it"
    for entry in entries:
        kept = {found.get(each, (0, 0)) for each in entry.operation.kept_results}
        undone = {found.get(each, (0, 0)) for each in entry.operation.undone_results}
        allowed = _allowed(entry, flushed, synchronous)
        said = f"operation {entry.operation.number}, {entry.operation.kind}, {entry.outcome}"
        if undone - {(0, 0)}:
            yield f"{said}: what it has undone is there: {undone}"
        if len(kept) > 1 or not kept <= allowed:
            yield f"{said}: results and audit rows {kept}, allowed {allowed}; {entry}"


def _allowed(entry: Entry, flushed: Sequence[int], synchronous: bool) -> set[tuple[int, int]]:
    nothing, once = (0, 0), (1, 1)
    if entry.outcome in {FAILED, IN_DOUBT}:
        return {nothing}
    if entry.outcome == ACKNOWLEDGED:
        if synchronous:
            return {once}
        left = fate(entry.before, entry.after, entry.generation, flushed)
        return {KEPT: {once}, LOST: {nothing}, EITHER: {nothing, once}}[left]
    return {nothing, once}


def must_be_prepared(entry: Entry, flushed: Sequence[int]) -> bool:
    """Whether a transaction that was left in doubt was prepared, and no failover has lost it."""
    is_kept = fate(entry.before, entry.after, entry.generation, flushed) == KEPT
    # To roll it back may have been the last that was heard of it.
    return entry.prepared and entry.operation.kind == "two-phase" and is_kept


def _results(entry: Entry) -> list[UUID]:
    return [*entry.operation.kept_results, *entry.operation.undone_results]


def is_excused(kept: Kept, flushed: Sequence[int]) -> bool:
    """Whether a failover may have lost what a checkpoint signs."""
    return fate(0, kept.after, kept.generation, flushed) != KEPT


def is_true(kept: Kept, leaf_hashes: Sequence[bytes]) -> bool:
    """Whether a checkpoint signs the root of the log as it is."""
    signed = audit.read_checkpoint(kept.note)
    first = leaf_hashes[: signed.tree_size]
    return len(first) == signed.tree_size and root(first) == signed.root_hash


def check_verified(verified: Sequence[Verified], flushed: Sequence[int]) -> Iterator[str]:
    """What verify has found though nobody has touched the evidence."""
    for each in verified:
        excused = each.against is not None and is_excused(each.against, flushed)
        for finding, kind in each.findings.items():
            if not (excused and kind == audit.LOST):
                yield f"verify found: {finding}"


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """RFC 6962's root over hashes of leaves."""
    if len(leaf_hashes) < 2:
        return leaf_hashes[0] if leaf_hashes else hashlib.sha256().digest()
    k = split(len(leaf_hashes))
    return hashlib.sha256(b"\1" + root(leaf_hashes[:k]) + root(leaf_hashes[k:])).digest()
