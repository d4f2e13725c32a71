"""What the seals say: how far the log goes, which transactions it covers, what waits."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from uuid import UUID

from step_audit.trust.seal import read_waiting, write_seal
from step_audit.trust.verify.behind import Behind, Snapshot
from step_audit.trust.verify.copying import Row
from step_audit.trust.verify.records import Record, inserted
from step_audit.trust.verify.report import Finding

PATIENCE = timedelta(hours=1)
"""How long an audit row may wait for its transition."""

# Characters of what cannot be read that a finding shows.
_SHOWN = 80


@dataclass(frozen=True)
class Seal:
    """A row of the seals; what cannot be read of it is what ``odd`` says."""

    tree_size: int
    sealed_at: datetime | None
    covered: Snapshot | None
    place: str | None
    waiting: frozenset[str]
    covered_text: str | None = None
    text: str = ""
    odd: str | None = None

    @classmethod
    def from_row(cls, row: Row) -> Seal:
        """Read the columns as COPY prints them."""
        size, sealed_at, covered, place, waiting = (
            None if value is None else value.decode() for value in row
        )
        try:
            known, odd = read_waiting(waiting), None
        except ValueError:
            known, odd = frozenset(), f"waiting {(waiting or '')[:_SHOWN]}"
        return cls(
            int(size or 0),
            _time(sealed_at),
            None if covered is None else Snapshot.from_text(covered),
            place,
            known,
            covered,
            write_seal(int(size or 0), sealed_at or "", covered, place, waiting),
            odd,
        )

    @property
    def name(self) -> str:
        """The seal as findings name it."""
        return f"seal of {self.tree_size} leaves"


@dataclass(frozen=True)
class Horizon:
    """The newest transactions of a server: one that has not begun, and the reader's own."""

    xmax: int
    own: int | None = None

    def lies_behind(self, xid: int) -> bool:
        """Whether what this transaction wrote can not be seen yet."""
        return xid >= self.xmax and xid != self.own


@dataclass(frozen=True)
class Seals:
    """All seals, in the order of the log."""

    seals: tuple[Seal, ...]

    @classmethod
    def from_rows(cls, rows: Iterable[Row]) -> Seals:
        """Read the rows of the table, in whatever order."""
        return cls(tuple(sorted(map(Seal.from_row, rows), key=lambda seal: seal.tree_size)))

    @property
    def newest(self) -> Seal | None:
        """The seal that says how long the log is."""
        return self.seals[-1] if self.seals else None

    @property
    def size(self) -> int:
        """How many leaves the newest seal counts."""
        return self.seals[-1].tree_size if self.seals else 0

    def findings(self, since: int = 0, told: Collection[str | None] = ()) -> Iterator[Finding]:
        """Seals that cannot be read, cover less than the one before, or are there twice.

        Args:
            since: look at those from so many leaves on.
            told: the names of those of which something was found already.
        """
        before: Seal | None = None
        for seal in self.seals:
            if seal.odd is not None and seal.name not in told:
                expected = "a plain list of audit rows"
                yield Finding("altered log", field=seal.name, stored=seal.odd, expected=expected)
            if seal.tree_size < 1:
                yield Finding("altered log", field=seal.name, stored=str(seal.tree_size))
            elif before and seal.tree_size >= since and seal.name not in told:
                if seal.tree_size == before.tree_size:
                    yield Finding("altered log", field=seal.name, expected="one seal of this size")
                elif before.covered and _goes_back(before, seal):
                    expected = f"no less than {before.covered_text}"
                    yield Finding(
                        "altered log", field=seal.name, stored=seal.covered_text, expected=expected
                    )
            before = seal

    def shows(self, xid: int, here: str, horizon: Horizon) -> bool:
        """Whether the newest seal saw what a transaction wrote, or nobody can have."""
        newest = self.newest
        if newest is None or newest.place != here:
            return False
        is_covered = newest.covered is not None and newest.covered.shows(xid)
        return xid < 0 or horizon.lies_behind(xid) or is_covered

    def waiting_since(self, uuid: str) -> datetime | None:
        """When an audit row that waits now was first seen to wait."""
        return self._since.get(uuid)

    @cached_property
    def _since(self) -> dict[str, datetime | None]:
        """When each that waits now was first seen to wait, by one seal after the other."""
        found: dict[str, datetime | None] = {}
        waits = self.newest.waiting if self.newest else frozenset()
        seen_at = self.newest.sealed_at if self.newest else None
        for seal in reversed(self.seals):
            if waits_no_longer := waits - seal.waiting:
                found |= dict.fromkeys(waits_no_longer, seen_at)
                waits &= seal.waiting
            if not waits:
                break
            seen_at = seal.sealed_at
        return found | dict.fromkeys(waits, seen_at)


def check_unsealed(
    record: Record,
    seals: Seals,
    behind: Iterable[Behind],
    here: str,
    horizon: Horizon,
    now: datetime,
) -> Iterator[Finding]:
    """What is wrong with an audit row that has no leaf.

    Args:
        record: the row.
        seals: of the log.
        behind: those that are signed.
        here: where the transaction ids of this database count.
        horizon: the newest transactions there.
        now: UTC.
    """
    newest = seals.newest
    assert record.audit_uuid is not None
    uuid = record.audit_uuid.decode()
    xid = int(record.recorded_xid or -1)
    for seal in behind:
        if seal.lacks(None, record.audit_uuid, record.recorded_xid):
            yield inserted(record, seal.tree_size)
            return
    if newest is None or newest.place != here:
        return
    if uuid in newest.waiting:
        since = seals.waiting_since(uuid)
        if since is None or now - since > PATIENCE:
            yield Finding(
                "waits too long",
                workflow_step_transition_uuid=_uuid(record.transition_uuid),
                workflow_step_result_audit_uuid=UUID(uuid),
                field="since an unknown time" if since is None else f"since {since} UTC",
            )
        return
    if seals.shows(xid, here, horizon):
        yield inserted(record, newest.tree_size)


def is_made_anew(before: str | None, here: str) -> bool:
    """Whether the audit is another table of the same database than where a seal was made.

    A restore into another database, and an upgrade or a restore on another server, tell it by that.
    """
    where, _, table = (before or "").rpartition(" table ")
    where_now, _, table_now = here.rpartition(" table ")
    return bool(where) and where == where_now and table != table_now


def _goes_back(before: Seal, seal: Seal) -> bool:
    assert before.covered is not None
    if seal.place is not None and seal.place != before.place:
        return False
    return seal.covered is None or (
        seal.covered.xmin < before.covered.xmin or seal.covered.xmax < before.covered.xmax
    )


def _time(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        return None


def _uuid(text: bytes | None) -> UUID | None:
    return None if text is None else UUID(text.decode())
