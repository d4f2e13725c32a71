"""What is judged of the whole, of a database as of a dump: the log, what was signed, the counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from step_audit.trust.verify.checkpoints import compare_checkpoint
from step_audit.trust.verify.log import BLOCK, Leaves, Log, check_subtrees
from step_audit.trust.verify.records import Tally
from step_audit.trust.verify.report import Counts, Finding, Signed, Source
from step_audit.trust.verify.seals import Seals
from step_audit.trust.verify.signed_seals import SignedSeals


def judge_log(
    ranges: Iterable[Leaves], seals: Seals, size: int, subtrees: Mapping[tuple[int, int], bytes]
) -> tuple[Log, list[Finding]]:
    """Put the ranges of the log together.

    Args:
        ranges: of all leaves.
        seals: which may count more.
        size: how many places were looked at.
        subtrees: the stored ones by height and index.
    """
    log = Log.of(ranges)
    if seals.size > size:
        log.gaps.append((size, seals.size - 1))
    return log, [*log.findings(), *check_subtrees(log, subtrees)]


def compare_signed(
    log: Log,
    signed: Signed | None,
    seals: Seals,
    signed_seals: SignedSeals,
    source: Source,
    leaf_hashes: Callable[[int, int], Mapping[int, bytes]],
    known_keys: Callable[[list[str]], set[str]],
    here: str | None = None,
) -> Iterator[Finding]:
    """The log and its seals against what was signed, and the seals against each other.

    Args:
        log: all of it.
        signed: the checkpoints.
        seals: of the log.
        signed_seals: those that the checkpoints sign.
        source: the server that the log is on now.
        leaf_hashes: reads a range of them.
        known_keys: which of some audit rows are there, or have a leaf.
        here: where transaction ids count, if that is known.
    """
    agreeing = []
    for checkpoint in signed.checkpoints if signed else ():
        root = None
        if checkpoint.tree_size <= log.size:
            first = checkpoint.tree_size // BLOCK * BLOCK
            behind = range(first, checkpoint.tree_size)
            hashes = leaf_hashes(first, checkpoint.tree_size) if behind else {}
            root = log.root(checkpoint.tree_size, [hashes.get(index, b"") for index in behind])
        found = list(compare_checkpoint(checkpoint, seals.size, root, source))
        if not found:
            agreeing.append(checkpoint)
        yield from found
    altered = list(signed_seals.findings(agreeing, here))
    yield from altered
    yield from signed_seals.lost(agreeing, known_keys)
    from_leaf = signed.from_leaf if signed else 0
    yield from seals.findings(from_leaf, {each.field for each in altered})


def count(tally: Tally, audit_rows: int, results: int, seals: Seals) -> Counts:
    """How much was looked at; ``results`` are those in the range of time."""
    return Counts(
        audit_rows=audit_rows,
        results=results,
        compared=tally.compared,
        sealed=seals.size,
        leaves=tally.leaves,
        unsealed=tally.unsealed,
        waiting=len(seals.newest.waiting) if seals.newest else 0,
        anomalies=tally.anomalies,
        changes=tally.changes,
        events=tally.events,
        purged=tally.purged,
        erased=tally.erased,
        unprintable=tally.unprintable,
        uncomputed=tally.uncomputed,
        unread=tally.unread,
    )
