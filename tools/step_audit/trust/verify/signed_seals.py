"""The seals that kept checkpoints sign: whether they are as they were, what came behind them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from uuid import UUID

from step_audit.trust.checkpoint import Checkpoint
from step_audit.trust.seal import hash_seal
from step_audit.trust.verify.behind import Behind
from step_audit.trust.verify.log import RANGE
from step_audit.trust.verify.report import Finding, Signed
from step_audit.trust.verify.seals import Seal, Seals, is_made_anew
from step_audit.trust.verify.tables import AUDIT


@dataclass(frozen=True)
class SignedSeals:
    """Each checkpoint that signs a seal, the older first, and the row with that hash."""

    checkpoints: tuple[Checkpoint, ...]
    found: tuple[tuple[Checkpoint, Seal | None], ...]
    seals: Seals

    @classmethod
    def of(cls, signed: Signed | None, seals: Seals) -> SignedSeals:
        """Look for the seals of the checkpoints."""
        checkpoints = signed.checkpoints if signed else ()
        pairs = [(each, _find(each, seals)) for each in checkpoints if each.seal_hash]
        return cls(checkpoints, tuple(pairs), seals)

    def behind(self, here: str) -> tuple[Behind, ...]:
        """Those whose transaction ids count here."""
        return tuple(
            Behind(seal.tree_size, seal.covered, seal.waiting)
            for _, seal in self.found
            if seal and seal.covered and seal.place == here
        )

    def behind_in_dump(self) -> tuple[Behind, ...]:
        """All, as far as later seals were made at the same place: nothing tells of the rest."""
        return tuple(
            Behind(seal.tree_size, seal.covered, seal.waiting, self._same_place(seal))
            for _, seal in self.found
            if seal and seal.covered
        )

    def _same_place(self, seal: Seal) -> int:
        signed = [each.tree_size for _, each in self.found if each and each.place == seal.place]
        until = max(signed)
        for later in self.seals.seals:
            if later.tree_size > until:
                if later.place != seal.place:
                    break
                until = later.tree_size
        return until

    def findings(
        self, agreeing: Collection[Checkpoint], here: str | None = None
    ) -> Iterator[Finding]:
        """Seals that are not as they were signed.

        Args:
            agreeing: the checkpoints that have the root of the log; of others that was found.
            here: where transaction ids count, if that is known.
        """
        newest = self.seals.newest
        told = is_anew = False
        for checkpoint, seal in self.found:
            if checkpoint not in agreeing:
                continue
            assert checkpoint.seal_hash is not None
            if seal is None:
                told |= newest is not None and newest.tree_size == checkpoint.tree_size
                yield _altered(checkpoint.tree_size, checkpoint.seal_hash, self.seals)
            elif here is not None and is_made_anew(seal.place, here):
                if is_anew:
                    continue
                is_anew = True
                yield Finding(
                    "altered object",
                    field=f"table {AUDIT}",
                    stored=f"made anew, or restored in place, since the signed {seal.name}",
                    expected=f"that of {seal.place}",
                )
            elif newest and not told and seal.place == here and newest.place != here:
                told = True
                yield Finding("altered log", field=newest.name, stored=newest.place, expected=here)

    def lost(
        self, agreeing: Collection[Checkpoint], find: Callable[[list[str]], set[str]]
    ) -> Iterator[Finding]:
        """Audit rows that a signed seal left for a later one, and that are nowhere any more.

        Args:
            agreeing: the checkpoints that have the root of the log.
            find: which of some audit rows are there, or have a leaf.
        """
        waiting: dict[str, Seal] = {}
        for checkpoint, seal in self.found:
            if seal and checkpoint in agreeing:
                waiting |= dict.fromkeys(seal.waiting, seal)
        keys = sorted(waiting)
        for first in range(0, len(keys), RANGE):
            some = keys[first : first + RANGE]
            for key in sorted(set(some) - find(some)):
                yield Finding(
                    "deleted record",
                    workflow_step_result_audit_uuid=UUID(key),
                    field=f"waiting in the {waiting[key].name}",
                )

    def not_looked_at(self, here: str | None = None) -> Iterator[str]:
        """Behind which nothing was looked for, and why; ``here`` is None in a dump."""
        for checkpoint in self.checkpoints:
            if checkpoint.tree_size and not checkpoint.seal_hash:
                yield (
                    f"whether the seals are as they were: the checkpoint of {checkpoint.tree_size} "
                    "leaves signs none"
                )
        for _, seal in self.found:
            if seal is None:
                continue
            what = f"audit rows that were inserted behind the signed {seal.name}"
            if not seal.covered:
                yield f"{what}: it did not reach all; sign after a seal that is complete"
            elif here is not None and seal.place != here:
                yield f"{what}: it was made elsewhere, {seal.place}"


def _find(checkpoint: Checkpoint, seals: Seals) -> Seal | None:
    for seal in seals.seals:
        if seal.tree_size == checkpoint.tree_size and hash_seal(seal.text) == checkpoint.seal_hash:
            return seal
    return None


def _altered(tree_size: int, seal_hash: bytes, seals: Seals) -> Finding:
    rows = [seal for seal in seals.seals if seal.tree_size == tree_size]
    stored = f"hash {hash_seal(rows[0].text).hex()}" if rows else "no such seal"
    return Finding(
        "altered log",
        field=f"seal of {tree_size} leaves",
        stored=stored,
        expected=f"hash {seal_hash.hex()}",
    )
