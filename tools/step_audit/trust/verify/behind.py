"""Which audit rows a seal should have sealed, by the transactions that it saw."""

from __future__ import annotations

from dataclasses import dataclass


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
class Behind:
    """A seal that is signed: no record comes later of a transaction that it covered.

    Attributes:
        tree_size: of the seal.
        covered: the transactions that it saw.
        waiting: the audit rows that it left for a later seal.
        until: to look at the leaves before; None: at all, and at what has none.
    """

    tree_size: int
    covered: Snapshot
    waiting: frozenset[str]
    until: int | None = None

    def lacks(self, leaf_index: bytes | None, audit_uuid: bytes, xid: bytes | None) -> bool:
        """Whether the seal should have sealed an audit row that is not among its leaves."""
        if leaf_index is None:
            if self.until is not None:
                return False
        elif int(leaf_index) < self.tree_size or not self.looks_at(int(leaf_index)):
            return False
        return self.covered.shows(int(xid or -1)) and audit_uuid.decode() not in self.waiting

    def looks_at(self, leaf_index: int) -> bool:
        """Whether what lies there in the log was recorded where the seal was made."""
        return self.until is None or leaf_index < self.until
