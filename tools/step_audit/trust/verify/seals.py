"""What the seals say: how far the log goes, which transactions it covers, what waits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from step_audit.trust.verify.copying import Row
from step_audit.trust.verify.records import Record
from step_audit.trust.verify.report import Finding

PATIENCE = timedelta(hours=1)
"""How long an audit row may wait for its transition."""


@dataclass(frozen=True)
class Snapshot:
    """A ``pg_snapshot``: which transactions it shows."""

    xmin: int
    xmax: int
    running: frozenset[int]

    @classmethod
    def from_text(cls, text: str) -> Snapshot:
        """Read ``xmin:xmax:running,…``."""
        xmin, xmax, running = text.split(":")
        return cls(int(xmin), int(xmax), frozenset(map(int, filter(None, running.split(",")))))

    def shows(self, xid: int) -> bool:
        """Whether the transaction had ended before."""
        return xid < self.xmin or (xid < self.xmax and xid not in self.running)


@dataclass(frozen=True)
class Seal:
    """A row of the seals."""

    tree_size: int
    sealed_at: datetime | None
    covered: Snapshot | None
    place: str | None
    waiting: tuple[str, ...]
    covered_text: str | None = None

    @classmethod
    def from_row(cls, row: Row) -> Seal:
        """Read the columns as COPY prints them."""
        size, sealed_at, covered, place, waiting = (
            None if value is None else value.decode() for value in row
        )
        return cls(
            int(size or 0),
            _time(sealed_at),
            None if covered is None else Snapshot.from_text(covered),
            place,
            tuple(filter(None, (waiting or "").strip("{}").split(","))),
            covered,
        )


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

    def findings(self, since: int = 0) -> Iterator[Finding]:
        """Seals that cover less than the one before; those from ``since`` leaves on."""
        before: Seal | None = None
        for seal in self.seals:
            field = f"seal of {seal.tree_size} leaves"
            if seal.tree_size < 1:
                yield Finding("altered log", field=field, stored=str(seal.tree_size))
            elif seal.tree_size >= since and before and before.covered and _goes_back(before, seal):
                expected = f"no less than {before.covered_text}"
                yield Finding(
                    "altered log", field=field, stored=seal.covered_text, expected=expected
                )
            before = seal

    def waiting_since(self, uuid: str) -> datetime | None:
        """When an audit row that waits now was first seen to wait."""
        found = None
        for seal in reversed(self.seals):
            if uuid not in seal.waiting:
                break
            found = seal.sealed_at
        return found


@dataclass(frozen=True)
class Horizon:
    """The newest transactions of a server: one that has not begun, and the reader's own."""

    xmax: int
    own: int | None = None

    def lies_behind(self, xid: int) -> bool:
        """Whether what this transaction wrote can not be seen yet."""
        return xid >= self.xmax and xid != self.own


def check_unsealed(
    record: Record, seals: Seals, here: str | None, horizon: Horizon, now: datetime
) -> Iterator[Finding]:
    """What is wrong with an audit row that has no leaf.

    Args:
        record: the row.
        seals: of the log.
        here: where the transaction ids of this database count; None: not known.
        horizon: the newest transactions there.
        now: UTC.
    """
    newest = seals.newest
    assert record.audit_uuid is not None
    uuid = record.audit_uuid.decode()
    xid = int(record.recorded_xid or -1)
    if newest is None or here is None or newest.place != here:
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
    is_covered = newest.covered is not None and newest.covered.shows(xid)
    if xid < 0 or horizon.lies_behind(xid) or is_covered:
        yield Finding(
            "inserted record",
            workflow_step_result_audit_uuid=UUID(uuid),
            field=f"transaction {xid}",
            expected=f"a leaf in the log of {newest.tree_size}",
        )


def _goes_back(before: Seal, seal: Seal) -> bool:
    assert before.covered is not None
    if seal.covered is None:
        return True
    return seal.place == before.place and (
        seal.covered.xmin < before.covered.xmin or seal.covered.xmax < before.covered.xmax
    )


def _time(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        return None


def _uuid(text: bytes | None) -> UUID | None:
    return None if text is None else UUID(text.decode())
