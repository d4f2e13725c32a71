"""Results without an audit row, audit rows without a result, and twins, each by its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from uuid import UUID

from step_audit.database import Connection
from step_audit.trust.verify import work
from step_audit.trust.verify.records import Scope, lies_between
from step_audit.trust.verify.report import Finding
from step_audit.trust.verify.tables import Place

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


def _transition(pair: bytes) -> UUID:
    return UUID(pair.split()[0].decode())
