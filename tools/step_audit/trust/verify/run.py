"""A whole verification of a database: what is looked at, in which order, and by whom."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from psycopg import sql

from step_audit.database import Connection, find_schema
from step_audit.errors import RefusedError, UsageError
from step_audit.setup.sources import Sources, load_sources
from step_audit.trust.server import identify_server
from step_audit.trust.verify import work
from step_audit.trust.verify.catalog import examine_catalog
from step_audit.trust.verify.checkpoints import compare_checkpoint
from step_audit.trust.verify.completeness import make_key
from step_audit.trust.verify.log import BLOCK, RANGE, Log, check_subtrees
from step_audit.trust.verify.queries import (
    anomalies_of,
    audit_rows_behind,
    columns_of,
    unsealed_keys,
    unsealed_records,
)
from step_audit.trust.verify.records import Examiner, Scope, lies_between
from step_audit.trust.verify.report import Counts, Finding, Report, Signed, Source
from step_audit.trust.verify.seals import Horizon, Seals, check_unsealed
from step_audit.trust.verify.session import Session, reading
from step_audit.trust.verify.tables import (
    ANOMALIES,
    AUDIT,
    FILES,
    JSON,
    LEAVES,
    SEALS,
    SUBTREES,
    TIMESTAMPTZ,
    TRANSITIONS,
    Place,
    check_columns,
)
from step_audit.trust.verify.workers import Workers, start_workers

# Rows that are held at once where two sides differ and the rows are to be named.
_HELD = 200_000

_HERE = """
SELECT
    pg_catalog.current_database()::pg_catalog.text AS database,
    pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::pg_catalog.text AS xmax,
    pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.text AS own_xid
"""


@dataclass(frozen=True)
class _Job:
    """One verification, of one snapshot."""

    session: Session
    workers: Workers
    scope: Scope
    seals: Seals
    source: Source
    horizon: Horizon
    from_leaf: int
    signed: Signed | None

    @property
    def conn(self) -> Connection:
        return self.session.conn

    @property
    def place(self) -> Place:
        return self.session.place


def verify(
    conn: Connection,
    schema: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    signed: Signed | None = None,
    workers: int | None = None,
) -> Report:
    """Verify catalog, completeness, fields and log; all is computed here, nothing by the database.

    Args:
        conn: a connection in autocommit. Inside a transaction of the caller's it is read as that
            transaction sees it, so that it should be REPEATABLE READ.
        schema: where step-audit is installed; found if not given.
        since: compare results from then on, UTC; the log is looked at as a whole.
        until: compare results before then, UTC.
        signed: checkpoints that the log must agree with.
        workers: how many processes read side by side; None: one where the log is small.

    Raises:
        NotInstalledError: nothing is installed.
        RefusedError: the role cannot see everything, or another release is installed.
        UsageError: the range of time is empty.
    """
    check_times(since, until)
    schema = schema or find_schema(conn)
    sources = load_sources()
    with reading(conn, schema) as session:
        check_columns(session.place)
        source, horizon = _read_source(session, sources)
        first = examine_catalog(conn, session.place, sources)
        with start_workers(session, workers) as started:
            job = _prepare(session, started, source, horizon, since, until, signed)
            findings, counts, not_looked_at = _verify_data(job)
            findings += _changes(session, started.strangers())
        remarks = list(session.remarks)
        if session.is_nested:
            remarks.append("it was read inside a transaction of the caller's")
        again = (
            [] if not session.is_nested else examine_catalog(conn, session.place, sources).findings
        )
    if not session.is_nested:
        # Whoever changed something meanwhile, and put it back, shows above by his locks.
        with reading(conn, schema) as later:
            again = examine_catalog(conn, later.place, sources).findings
    return Report(
        tuple(dict.fromkeys([*first.findings, *again, *findings])),
        source,
        replace(counts, objects=first.objects),
        session.started_at.replace(tzinfo=UTC),
        since,
        until,
        signed,
        tuple(not_looked_at),
        (*first.remarks, *remarks),
    )


def check_times(since: datetime | None, until: datetime | None) -> None:
    """Refuse a range of time that has no time in it.

    Raises:
        UsageError: it has none.
    """
    if since and until and since >= until:
        raise UsageError(
            f"no time lies from {since} on and before {until}; nothing was looked at. "
            "Give an earlier --since or a later --until."
        )


def as_copied(time: datetime | None) -> bytes | None:
    """A time as COPY prints it."""
    return None if time is None else time.replace(tzinfo=None).isoformat(sep=" ").encode()


def _read_source(session: Session, sources: Sources) -> tuple[Source, Horizon]:
    conn, place = session.conn, session.place
    releases = {row[0] for row in columns_of(conn, place, FILES, "release")}
    installed = ", ".join(sorted((each or b"").decode() for each in releases))
    if installed != sources.release:
        raise RefusedError(
            f"the database has step-audit {installed}, this command is {sources.release}, "
            "so it cannot tell what should be there. Verify with that release, or install this one."
        )
    (here,) = conn.execute(_HERE).fetchall()
    server = identify_server(conn)
    host = place[TRANSITIONS]
    source = Source(
        here["database"],
        place.schema,
        session.role,
        session.server_version,
        _or_unknown(server.system_identifier),
        _or_unknown(server.timeline),
        sources.release,
        f"{host.schema_name}.{host.table_name}",
    )
    own = here["own_xid"] if session.is_nested else None
    return source, Horizon(int(here["xmax"]), None if own is None else int(own))


def _or_unknown(number: int | None) -> str:
    return "unknown" if number is None else str(number)


def _prepare(
    session: Session,
    workers: Workers,
    source: Source,
    horizon: Horizon,
    since: datetime | None,
    until: datetime | None,
    signed: Signed | None,
) -> _Job:
    conn, place = session.conn, session.place
    types = place[TRANSITIONS].types
    scope = Scope(
        make_key(),
        types["created_at"] == TIMESTAMPTZ,
        types["metadata"] == JSON,
        as_copied(since),
        as_copied(until),
    )
    columns = ("tree_size", "sealed_at", "covered", "place", "waiting")
    seals = Seals.from_rows(columns_of(conn, place, SEALS, *columns))
    from_leaf = signed.older.tree_size if signed and signed.older else 0
    return _Job(session, workers, scope, seals, source, horizon, from_leaf, signed)


def _verify_data(job: _Job) -> tuple[list[Finding], Counts, list[str]]:
    conn, place = job.conn, job.place
    size, behind = _find_end(job)
    has_anomalies = _has_rows(conn, place, ANOMALIES)
    pieces = [(job.scope, todo, has_anomalies) for todo in _ranges(size, job.from_leaf)]
    audit_pairs = job.workers.run(work.audit_pairs, [(job.scope,)])
    result_pairs = job.workers.run(work.result_pairs, [(job.scope,)])
    examined_ranges = job.workers.run(work.examine_range, pieces)

    audit, results = next(audit_pairs), next(result_pairs)
    findings = [*_name_unpaired(job, audit, results), *behind]
    tally = Examiner(job.scope).tally
    ranges = []
    for examined in examined_ranges:
        ranges.append(examined.leaves)
        tally.merge(examined.tally)
    log = Log.of(ranges)
    if job.seals.size > size:
        last = job.seals.size - 1
        log.gaps.append((size, last))
    findings += log.findings()
    findings += check_subtrees(log, _read_subtrees(job))
    findings += job.seals.findings(job.from_leaf)
    for checkpoint in _checkpoints(job.signed):
        root = None
        if checkpoint.tree_size <= min(size, job.seals.size):
            root = log.root(checkpoint.tree_size, _tail(job, checkpoint.tree_size))
        findings += compare_checkpoint(checkpoint, job.seals.size, root, job.source)

    unsealed = _examine_unsealed(job, has_anomalies)
    tally.merge(unsealed.tally)
    if behind:
        for row in audit_rows_behind(conn, place, size):
            tally.seen.add(row[0] or b"")
    findings += tally.findings
    hidden = sum(abs(a - b) for a, b in zip(audit.keys.rows, tally.seen.rows, strict=True))
    if hidden or audit.keys.sums != tally.seen.sums:
        findings.append(_hidden(audit.keys.total, tally.seen.total))
    counts = Counts(
        audit_rows=audit.keys.total,
        results=results.in_range,
        compared=tally.compared,
        sealed=job.seals.size,
        leaves=tally.leaves,
        unsealed=tally.unsealed,
        waiting=len(job.seals.newest.waiting) if job.seals.newest else 0,
        anomalies=tally.anomalies,
        unprintable=tally.unprintable,
        unread=tally.unread,
    )
    return findings, counts, list(_not_looked_at(job, counts))


def _not_looked_at(job: _Job, counts: Counts) -> Iterator[str]:
    if job.scope.since or job.scope.until:
        yield (
            "outside of the range of time: fields of results, results without an audit row, audit "
            "rows without a result"
        )
        if not counts.results:
            yield "any result: none lies in that range"
    if job.from_leaf:
        yield f"records below leaf {job.from_leaf}: neither their leaves nor their fields"
    if not job.signed:
        yield (
            "whether the log was written anew as a whole: give --checkpoint and --public-key, as "
            "only a checkpoint that is kept elsewhere can tell"
        )
    if not job.seals.size:
        yield "seals: nothing is sealed"
    elif job.seals.newest and job.seals.newest.place != _here(job):
        yield (
            "audit rows that were inserted behind a seal: the newest one was made elsewhere, or "
            "its place cannot be read; after a restore, seal once"
        )
    if counts.unprintable:
        yield f"fields of {counts.unprintable} results that are too large to be printed"
    if counts.unread:
        yield f"fields of {counts.unread} results that are nested too deep to be read anew"


def _checkpoints(signed: Signed | None) -> list[Any]:
    return [each for each in (signed.older, signed.checkpoint) if each] if signed else []


def _ranges(size: int, from_leaf: int) -> Iterator[work.Range]:
    for first in range(0, size, RANGE):
        yield work.Range(first, min(first + RANGE, size), from_leaf)


def _name_unpaired(job: _Job, audit: work.Pairs, results: work.Pairs) -> Iterator[Finding]:
    """Results without audit row, audit rows without result, and twins: where the sums differ."""
    scope = job.scope
    for buckets in audit.pairs.differing(results.pairs, _HELD):
        rows: dict[bytes, tuple[bytes, bytes | None]] = {}
        for key, pair, time in work.audit_rows(job.conn, job.place):
            if audit.pairs.bucket_of(pair) not in buckets:
                continue
            if pair in rows:
                yield Finding("doubled", UUID(pair.split()[0].decode()), UUID(key.decode()))
            rows[pair] = (key, time)
        paired = set()
        for pair, time in work.result_rows(job.conn, job.place, scope):
            if audit.pairs.bucket_of(pair) not in buckets:
                continue
            if pair in paired:
                yield Finding("doubled", UUID(pair.split()[0].decode()))
            elif pair in rows:
                paired.add(pair)
            elif lies_between(time, scope.since, scope.until):
                yield Finding("missing", UUID(pair.split()[0].decode()))
        for pair, (key, time) in rows.items():
            if pair not in paired and lies_between(time, scope.since, scope.until):
                yield Finding("extra", UUID(pair.split()[0].decode()), UUID(key.decode()))


def _find_end(job: _Job) -> tuple[int, list[Finding]]:
    """How many places of the log are looked at one by one, and the leaves that lie elsewhere.

    Up to the newest seal, but never many more than there are leaves: one with a forged index, far
    behind the others, would make the log look endless.
    """
    leaves, source = job.place[LEAVES], job.place[LEAVES].source
    with job.conn.transaction(force_rollback=True):
        job.conn.execute("SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off")
        (count,) = job.conn.execute(
            sql.SQL("SELECT pg_catalog.count(*) AS leaves FROM {} AS l").format(source)
        ).fetchall()
        until = min(job.seals.size, 2 * int(count["leaves"]) + RANGE)
        (end,) = job.conn.execute(
            sql.SQL(
                "SELECT pg_catalog.max(l.leaf_index) AS highest FROM {} AS l "
                "WHERE l.leaf_index OPERATOR(pg_catalog.<) {}::pg_catalog.int8"
            ).format(source, sql.Literal(until))
        ).fetchall()
    size = 0 if end["highest"] is None else max(0, int(end["highest"]) + 1)
    where = sql.SQL(
        "t.leaf_index OPERATOR(pg_catalog.<) 0::pg_catalog.int8 "
        "OR t.leaf_index OPERATOR(pg_catalog.>=) {}::pg_catalog.int8"
    ).format(sql.Literal(size))
    columns = ("leaf_index", "record_uuid", "leaf_hash")
    behind = [
        Finding(
            "unsealed leaf",
            workflow_step_result_audit_uuid=UUID((uuid or b"").decode()),
            field=f"leaf {(index or b'').decode()}",
            stored=(leaf or b"")[2:].decode(),
        )
        for index, uuid, leaf in columns_of(job.conn, job.place, leaves.name, *columns, where=where)
    ]
    return size, behind


def _read_subtrees(job: _Job) -> dict[tuple[int, int], bytes]:
    columns = ("height", "subtree_index", "root_hash")
    return {
        (int(height or 0), int(index or 0)): bytes.fromhex((root or b"")[2:].decode())
        for height, index, root in columns_of(job.conn, job.place, SUBTREES, *columns)
    }


def _tail(job: _Job, size: int) -> list[bytes]:
    first = size // BLOCK * BLOCK
    if first == size:
        return []
    hashes = {
        int(row[0] or 0): bytes.fromhex((row[1] or b"")[2:].decode())
        for row in work.leaf_hashes(job.conn, job.place, first, size)
    }
    return [hashes.get(index, b"") for index in range(first, size)]


def _has_rows(conn: Connection, place: Place, name: str) -> bool:
    query = sql.SQL("SELECT FROM {} LIMIT 1").format(place[name].source)
    return bool(conn.execute(query).fetchall())


def _examine_unsealed(job: _Job, has_anomalies: bool) -> Examiner:
    """Look at the audit rows without a leaf; their keys are kept in a file, however many."""
    examiner = Examiner(job.scope)
    here, now = _here(job), job.session.started_at
    with tempfile.TemporaryFile() as keys:
        for key in unsealed_keys(job.conn, job.place):
            keys.write(key + b"\n")
        keys.seek(0)
        while some := [line.decode().strip() for line in itertools.islice(keys, RANGE)]:
            if has_anomalies:
                examiner.anomalies = work.read_anomalies(anomalies_of(job.conn, job.place, some))
            for row, is_printed in unsealed_records(job.conn, job.place, some):
                record = examiner.examine(row, is_printed)
                examiner.tally.findings += check_unsealed(record, job.seals, here, job.horizon, now)
            examiner.end_range()
    return examiner


def _here(job: _Job) -> str:
    """Where transaction ids count: as a seal writes it down."""
    return f"cluster {job.source.system_identifier} table {job.place[AUDIT].oid}"


def _changes(session: Session, strangers: set[int]) -> list[Finding]:
    """What was changed under the hands of the reader."""
    found = [
        Finding("changed while verified", field=f"setting {name}", stored=stored, expected=pinned)
        for name, stored, pinned in session.changed_settings()
    ]
    strangers = strangers | session.strangers()
    if strangers:
        oids = ", ".join(map(str, sorted(strangers)))
        found.append(
            Finding(
                "changed while verified",
                field="tables that were read",
                stored=f"relations {oids} too",
                expected="those that were locked at the start",
            )
        )
    return found


def _hidden(stored: int, seen: int) -> Finding:
    return Finding(
        "hidden record",
        field=f"audit rows of {AUDIT}",
        stored=f"{seen} by the indexes",
        expected=f"{stored} in the table",
    )
