"""Records that are much older than their seals: before it they could be changed without a trace."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg import sql

from step_audit.database import Connection
from step_audit.trust.verify.session import reading
from step_audit.trust.verify.tables import AUDIT, LEAVES, SEALS

# What was backfilled is as old as the transition that it was read from.
_LATE = """
SELECT
    pg_catalog.count(*) AS records,
    pg_catalog.min(a.recorded_at) AS oldest,
    pg_catalog.max(s.sealed_at - a.recorded_at) AS longest
FROM (
    SELECT
        e.sealed_at,
        e.tree_size,
        pg_catalog.lag(e.tree_size, 1, 0::pg_catalog.int8) OVER (ORDER BY e.tree_size) AS begins
    FROM {seals} AS e
) AS s
JOIN {leaves} AS l ON l.leaf_index >= s.begins AND l.leaf_index < s.tree_size
JOIN {audit} AS a ON a.workflow_step_result_audit_uuid = l.record_uuid
WHERE
    s.tree_size > {first}
    AND l.leaf_index >= {first}
    AND l.leaf_index < {until}
    AND NOT a.backfilled
    AND a.recorded_at < s.sealed_at - {limit}
"""


@dataclass(frozen=True)
class Late:
    """Records that were sealed late: how many, the oldest, and the longest that one had to wait."""

    records: int
    oldest: datetime
    longest: timedelta


def find_late(
    conn: Connection, schema: str, first: int, until: int, limit: timedelta
) -> Late | None:
    """Look among the leaves from ``first`` on and before ``until``.

    Args:
        conn: in autocommit.
        schema: where step-audit is installed.
        first: index of a leaf.
        until: index of a leaf.
        limit: how much older than its seal a record may be.
    """
    with reading(conn, schema) as session:
        query = sql.SQL(_LATE).format(
            seals=session.place[SEALS].source,
            leaves=session.place[LEAVES].source,
            audit=session.place[AUDIT].source,
            first=sql.Literal(first),
            until=sql.Literal(until),
            limit=sql.Literal(limit),
        )
        (found,) = conn.execute(query).fetchall()
    return Late(**found) if found["records"] else None
