"""What a report says that nothing was looked for: sentences that a database and a dump share."""

from __future__ import annotations

from collections.abc import Iterator

from step_audit.trust.verify.records import Scope
from step_audit.trust.verify.report import Counts, Signed
from step_audit.trust.verify.seals import Seals


def of_the_question(scope: Scope, signed: Signed | None, counts: Counts) -> Iterator[str]:
    """What the caller left out, or what there was too little for."""
    if scope.since or scope.until:
        yield (
            "outside of the range of time: fields of results, results without an audit row, audit "
            "rows without a result"
        )
        if not counts.results:
            yield "any result: none lies in that range"
    if signed and signed.from_leaf:
        yield f"records below leaf {signed.from_leaf}: neither their leaves nor their fields"
    if not signed:
        yield (
            "whether the log was written anew as a whole: give --checkpoint and --public-key, as "
            "only a checkpoint that is kept elsewhere can tell"
        )
    elif not signed.checkpoint.tree_size:
        yield "whether the log was written anew as a whole: the checkpoint is of an empty log"
    elif counts.sealed > signed.checkpoint.tree_size:
        yield (
            f"whether {counts.sealed - signed.checkpoint.tree_size} leaves were written anew: they "
            "came after the checkpoint, and nothing outside the database vouches for them yet"
        )
    if not counts.sealed:
        yield "seals: nothing is sealed"
    if counts.unprintable:
        yield f"fields of {counts.unprintable} results that are too large to be printed"
    if counts.uncomputed:
        yield (
            f"the leaves of {counts.uncomputed} results that are sealed as unprintable: they "
            "cannot be computed without a server"
        )
    if counts.unread:
        yield f"fields of {counts.unread} results that are nested too deep to be read anew"


def of_the_newest_seal(seals: Seals, here: str) -> Iterator[str]:
    """Why nothing tells what was inserted behind the newest seal."""
    newest = seals.newest
    if newest and newest.place != here:
        yield (
            "audit rows that were inserted behind a seal: the newest one was made elsewhere, or "
            "its place cannot be read; after a restore, seal once"
        )
    elif newest and not newest.covered:
        yield (
            "audit rows that were inserted behind a seal: no seal has reached all audit rows yet; "
            "seal until it is complete"
        )
