"""What two sums tell apart: rows without a partner, twins, and what an index hides, by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from uuid import UUID

from step_audit.database import Connection
from step_audit.trust.verify import work
from step_audit.trust.verify.completeness import Sums
from step_audit.trust.verify.queries import columns_of
from step_audit.trust.verify.records import Scope, doubled, lies_between
from step_audit.trust.verify.report import Finding
from step_audit.trust.verify.tables import AUDIT, LEAVES, Place

# Rows that are held at once where two sides differ and the rows are to be named.
_HELD = 200_000


def name_unpaired(
    conn: Connection, place: Place, scope: Scope, audit: work.Pairs, results: work.Pairs
) -> Iterator[Finding]:
    """Read both sides again where their sums differ; name what has no partner, and twins."""
    for buckets in audit.pairs.differing(results.pairs, _HELD):
        rows: dict[bytes, tuple[bytes, bytes | None]] = {}
        with closing(work.audit_rows(conn, place)) as audit_rows:
            for key, pair, time in audit_rows:
                if audit.pairs.bucket_of(pair) not in buckets:
                    continue
                if pair in rows:
                    yield Finding("doubled", _transition(pair), UUID(key.decode()))
                rows[pair] = (key, time)
        paired = set()
        with closing(work.result_rows(conn, place, scope)) as result_rows:
            for pair, time in result_rows:
                if audit.pairs.bucket_of(pair) not in buckets:
                    continue
                if pair in paired:
                    yield Finding("doubled", _transition(pair))
                elif pair in rows:
                    paired.add(pair)
                elif lies_between(time, scope.since, scope.until):
                    yield Finding("missing", _transition(pair))
        for pair, (key, time) in rows.items():
            if pair not in paired and lies_between(time, scope.since, scope.until):
                yield Finding("extra", _transition(pair), UUID(key.decode()))


def name_unseen(conn: Connection, place: Place, keys: Sums, seen: Sums) -> Iterator[Finding]:
    """Where not each audit row was seen once: what stands there twice, else that some are hidden.

    Args:
        conn: of the snapshot.
        place: where the tables are.
        keys: of the audit rows.
        seen: of those that were looked at with their leaves, or without one.
    """
    unexplained: set[int] = set()
    for buckets in keys.differing(seen, _HELD):
        rows: dict[bytes, list[bytes]] = {}
        leaves: Counter[bytes] = Counter()
        with closing(work.audit_rows(conn, place)) as audit_rows:
            for key, pair, _ in audit_rows:
                if keys.bucket_of(key) in buckets:
                    rows.setdefault(key, []).append(pair.split()[0])
        with closing(columns_of(conn, place, LEAVES, "record_uuid")) as records:
            for (record,) in records:
                if record is not None and keys.bucket_of(record) in buckets:
                    leaves[record] += 1
        rows_twice = {key: found for key, found in rows.items() if len(found) > 1}
        leaves_twice = [record for record, count in leaves.items() if count > 1]
        for key, found in rows_twice.items():
            for transition in found:
                yield doubled(key, transition)
        for record in leaves_twice:
            yield doubled(record, None)
        unexplained |= buckets - {keys.bucket_of(key) for key in (*rows_twice, *leaves_twice)}
    if unexplained:
        yield hidden(f"audit rows of {AUDIT}", keys.total, seen.total)


def hidden(what: str, stored: int, seen: int) -> Finding:
    """Rows that are in their table and were not found by an index."""
    return Finding(
        "hidden record",
        field=what,
        stored=f"{seen} by the indexes",
        expected=f"{stored} in the table",
    )


def _transition(pair: bytes) -> UUID:
    return UUID(pair.split()[0].decode())
