"""What a statement costs, counted and not timed: the same on every machine.

The counts are the server's own, over all sessions: use a server where nothing else runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from step_audit.database import Connection

# One statement, and what runs behind EXPLAIN's back (AFTER triggers) is in these counters.
_COUNTERS = """
SELECT
    (SELECT wal_records FROM pg_stat_wal) AS wal_records,
    (SELECT wal_bytes FROM pg_stat_wal) AS wal_bytes,
    (
        SELECT sum(
            heap_blks_hit + heap_blks_read
            + coalesce(idx_blks_hit + idx_blks_read, 0)
            + coalesce(toast_blks_hit + toast_blks_read, 0)
            + coalesce(tidx_blks_hit + tidx_blks_read, 0)
        )
        FROM pg_statio_user_tables
    ) AS buffers,
    pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS transaction_ids
"""


@dataclass(frozen=True)
class Counts:
    """Counts for each of a number of statements."""

    wal_records: float
    wal_bytes: float
    buffers: float
    transaction_ids: float

    def minus(self, other: Counts) -> Counts:
        """What this costs more."""
        return Counts(
            self.wal_records - other.wal_records,
            self.wal_bytes - other.wal_bytes,
            self.buffers - other.buffers,
            self.transaction_ids - other.transaction_ids,
        )


def count(conn: Connection, work: Callable[[], int]) -> Counts:
    """Do ``work``, which gives how many statements it ran; counts for each of them."""
    before = _read(conn)
    statements = work()
    after = _read(conn)
    return Counts(*(float(after[name] - before[name]) / statements for name in after))


def _read(conn: Connection) -> dict[str, int]:
    conn.execute("SELECT pg_stat_force_next_flush()")
    (row,) = conn.execute(_COUNTERS).fetchall()
    return row
