"""A whole verification of a database: what is looked at, in which order, and by whom."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from step_audit.database import Connection, find_schema
from step_audit.errors import RefusedError, describe
from step_audit.patience import look_again
from step_audit.setup.sources import Sources, load_sources
from step_audit.trust.server import identify_server
from step_audit.trust.verify import omissions, work
from step_audit.trust.verify.accounts import read_accounts
from step_audit.trust.verify.catalog import Examined, examine_catalog
from step_audit.trust.verify.change_queries import (
    audits_of_transitions,
    changes_of_risen,
    left_by_erasures,
    purges_and_erasures,
    transitions_of,
    unsealed_others,
    versions_of_transitions,
)
from step_audit.trust.verify.changes import find_risen, inserted, last_deleted
from step_audit.trust.verify.completeness import make_key
from step_audit.trust.verify.ends import find_end
from step_audit.trust.verify.erasures import find_altered_since
from step_audit.trust.verify.log import RANGE
from step_audit.trust.verify.pairs import hidden, name_unpaired, name_unseen
from step_audit.trust.verify.queries import (
    anomalies_of,
    audit_rows_behind,
    columns_of,
    known_keys,
    unsealed_keys,
    unsealed_records,
)
from step_audit.trust.verify.question import as_copied, check_times
from step_audit.trust.verify.records import Examiner, Scope, Tally
from step_audit.trust.verify.report import Counts, Finding, Report, Signed, Source
from step_audit.trust.verify.seals import Horizon, Seals, check_unsealed
from step_audit.trust.verify.session import Session, looking, reading
from step_audit.trust.verify.signed_seals import SignedSeals
from step_audit.trust.verify.stepless import leave_out_stepless
from step_audit.trust.verify.tables import (
    ANOMALIES,
    AUDIT,
    CHANGES,
    EVENTS,
    FILES,
    SEALS,
    SUBTREES,
    TRANSITIONS,
    Place,
    check_columns,
)
from step_audit.trust.verify.whole import compare_signed, count, judge_log
from step_audit.trust.verify.workers import Workers, start_workers

_HERE = """
SELECT
    d.datname::pg_catalog.text AS database,
    d.oid AS database_oid,
    pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::pg_catalog.text AS xmax,
    pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.text AS own_xid
FROM pg_catalog.pg_database AS d
WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
"""


@dataclass(frozen=True)
class _Job:
    """One verification, of one snapshot; ``here``: where transaction ids count, as seals say it."""

    session: Session
    workers: Workers
    scope: Scope
    seals: Seals
    source: Source
    horizon: Horizon
    signed: Signed | None
    signed_seals: SignedSeals
    here: str

    @property
    def conn(self) -> Connection:
        return self.session.conn

    @property
    def place(self) -> Place:
        return self.session.place

    @property
    def from_leaf(self) -> int:
        return self.signed.from_leaf if self.signed else 0


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
    catalogs = []
    if conn.info.transaction_status == TransactionStatus.IDLE:
        catalogs.append(_look_first(conn, schema, sources))
    with reading(conn, schema) as session:
        check_columns(session.place)
        source, horizon, where = _read_source(session, sources)
        catalogs.append(examine_catalog(conn, session.place, sources))
        try:
            with start_workers(session, workers) as started:
                job = _prepare(session, started, source, horizon, where, since, until, signed)
                findings, counts, not_looked_at = _verify_data(job)
                findings, told = leave_out_stepless(conn, session.place, findings)
                told += job.scope.accounts.remarks
                findings += _changes(session, started.strangers())
            if session.is_nested:
                catalogs.append(examine_catalog(conn, session.place, sources))
        except (TypeError, ValueError, psycopg.Error) as error:
            if not any(map(_spoils_rows, catalogs[-1].findings)):
                raise
            findings, counts, not_looked_at = [], Counts(), [_unread(error)]
            told = []
        remarks = [*session.remarks, *told]
        if session.is_nested:
            remarks.append("it was read inside a transaction of the caller's")
    if not session.is_nested:
        # Whoever changed something meanwhile, and put it back, shows above by his locks.
        catalogs.append(_look_first(conn, schema, sources))
    of_the_catalog = [finding for each in catalogs for finding in each.findings]
    return Report(
        tuple(dict.fromkeys([*of_the_catalog, *findings])),
        source,
        replace(counts, objects=catalogs[-1].objects),
        session.started_at.replace(tzinfo=UTC),
        since,
        until,
        signed,
        tuple(not_looked_at),
        tuple(dict.fromkeys([*(remark for each in catalogs for remark in each.remarks), *remarks])),
    )


def _spoils_rows(finding: Finding) -> bool:
    """Whether rows may hold what cannot be read, as a column is not as it should be."""
    return finding.finding == "altered object" and (finding.field or "").startswith("column ")


def _unread(error: Exception) -> str:
    return (
        "any row: a column is altered, as is said above, and what stands in the tables cannot be "
        f"read ({describe(error)}); repair the column and verify again"
    )


def _look_first(conn: Connection, schema: str, sources: Sources) -> Examined:
    """Look at the catalog before anything of an owner's runs, and before our locks."""

    def look() -> Examined:
        with looking(conn, schema) as place:
            return examine_catalog(conn, place, sources)

    return look_again(look)


def _read_source(session: Session, sources: Sources) -> tuple[Source, Horizon, str]:
    """The server, its newest transactions, and where these count, as seals have it."""
    conn, place = session.conn, session.place
    with closing(columns_of(conn, place, FILES, "release")) as rows:
        releases = {row[0] for row in rows}
    installed = ", ".join(sorted((each or b"").decode() for each in releases))
    if installed != sources.release:
        raise RefusedError(
            f"the database has step-audit {installed!r}, this command is {sources.release}, "
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
    where = (
        f"cluster {source.system_identifier} database {here['database_oid']} "
        f"table {place[AUDIT].oid}"
    )
    return source, Horizon(int(here["xmax"]), None if own is None else int(own)), where


def _or_unknown(number: int | None) -> str:
    return "unknown" if number is None else str(number)


def _prepare(
    session: Session,
    workers: Workers,
    source: Source,
    horizon: Horizon,
    where: str,
    since: datetime | None,
    until: datetime | None,
    signed: Signed | None,
) -> _Job:
    conn, place = session.conn, session.place
    columns = ("tree_size", "sealed_at", "covered", "place", "waiting")
    with closing(columns_of(conn, place, SEALS, *columns)) as rows:
        seals = Seals.from_rows(rows)
    signed_seals = SignedSeals.of(signed, seals)
    with closing(purges_and_erasures(conn, place)) as rows:
        accounts = read_accounts(rows, seals.size)
    scope = Scope(
        make_key(),
        place.has_zone,
        place.is_json,
        as_copied(since),
        as_copied(until),
        signed_seals.behind(where),
        accounts,
    )
    return _Job(session, workers, scope, seals, source, horizon, signed, signed_seals, where)


def _verify_data(job: _Job) -> tuple[list[Finding], Counts, list[str]]:
    conn, place = job.conn, job.place
    size, behind = find_end(conn, place, job.seals.size)
    has_anomalies = _has_rows(conn, place, ANOMALIES)
    pieces = [(scope, todo, has_anomalies) for scope, todo in _ranges(job, size)]
    audit_pairs = job.workers.run(work.audit_pairs, [(job.scope,)])
    result_pairs = job.workers.run(work.result_pairs, [(job.scope,)])
    other_keys = job.workers.run(work.keys_of_all_others, [(job.scope,)])
    examined_ranges = job.workers.run(work.examine_range, pieces)

    audit, results, others = next(audit_pairs), next(result_pairs), next(other_keys)
    findings = [*name_unpaired(conn, place, job.scope, audit, results), *behind]
    tally = Examiner(job.scope).tally
    ranges = []
    for examined in examined_ranges:
        ranges.append(examined.leaves)
        tally.merge(examined.tally)
    log, of_the_log = judge_log(ranges, job.seals, size, _read_subtrees(job))
    findings += of_the_log
    findings += compare_signed(
        log,
        job.signed,
        job.seals,
        job.signed_seals,
        job.source,
        lambda first, until: _leaf_hashes(job, first, until),
        partial(known_keys, conn, place),
        job.here,
    )

    unsealed = _examine_unsealed(job, has_anomalies)
    tally.merge(unsealed.tally)
    findings += _examine_unsealed_others(job, tally)
    with closing(changes_of_risen(conn, place)) as rows:
        deleted = last_deleted(rows)
    if deleted:
        keys = [key.decode() for key in deleted]
        with (
            closing(versions_of_transitions(conn, place, keys)) as versions,
            closing(audits_of_transitions(conn, place, keys)) as audits,
        ):
            findings += find_risen(deleted, (each.row for each in versions), list(audits))
    findings += _look_at_erased(job)
    if behind:
        with closing(audit_rows_behind(conn, place, size)) as rows:
            for row in rows:
                tally.seen.add(row[0] or b"")
    findings += tally.findings
    findings += name_unseen(conn, place, audit.keys, tally.seen)
    if others.rows != tally.seen_others.rows or others.sums != tally.seen_others.sums:
        findings.append(hidden("changes and events", others.total, tally.seen_others.total))
    counts = count(tally, audit.keys.total, results.in_range, job.seals)
    return findings, counts, list(_not_looked_at(job, counts))


def _look_at_erased(job: _Job) -> list[Finding]:
    accounts = job.scope.accounts
    if not accounts.erased:
        return []
    with closing(transitions_of(job.conn, job.place, accounts.erased)) as rows:
        erased = {key: index or b"" for key, index in rows if key}
    keys = sorted(key.decode() for key in erased)
    with closing(left_by_erasures(job.conn, job.place, keys)) as versions:
        return list(find_altered_since(accounts, erased, versions))


def _not_looked_at(job: _Job, counts: Counts) -> Iterator[str]:
    yield from omissions.of_the_question(job.scope, job.signed, counts)
    yield from omissions.of_the_newest_seal(job.seals, job.here)
    yield from job.signed_seals.not_looked_at(job.here)


def _ranges(job: _Job, size: int) -> Iterator[tuple[Scope, work.Range]]:
    for first in range(0, size, RANGE):
        until = min(first + RANGE, size)
        yield job.scope.of_range(first, until), work.Range(first, until, job.from_leaf)


def _read_subtrees(job: _Job) -> dict[tuple[int, int], bytes]:
    columns = ("height", "subtree_index", "root_hash")
    with closing(columns_of(job.conn, job.place, SUBTREES, *columns)) as rows:
        return {
            (int(height or 0), int(index or 0)): bytes.fromhex((root or b"")[2:].decode())
            for height, index, root in rows
        }


def _leaf_hashes(job: _Job, first: int, until: int) -> dict[int, bytes]:
    with closing(work.leaf_hashes(job.conn, job.place, first, until)) as rows:
        return {int(row[0] or 0): bytes.fromhex((row[1] or b"")[2:].decode()) for row in rows}


def _has_rows(conn: Connection, place: Place, name: str) -> bool:
    query = sql.SQL("SELECT FROM {} LIMIT 1").format(place[name].source)
    return bool(conn.execute(query).fetchall())


def _examine_unsealed(job: _Job, has_anomalies: bool) -> Examiner:
    """Look at the audit rows without a leaf; their keys are kept in a file, however many."""
    examiner = Examiner(job.scope)
    here, now = job.here, job.session.started_at
    with tempfile.TemporaryFile() as keys:
        with closing(unsealed_keys(job.conn, job.place)) as found:
            for key in found:
                keys.write(key + b"\n")
        keys.seek(0)
        while some := [line.decode().strip() for line in itertools.islice(keys, RANGE)]:
            if has_anomalies:
                with closing(anomalies_of(job.conn, job.place, some)) as rows:
                    examiner.anomalies = work.read_anomalies(rows)
            with closing(unsealed_records(job.conn, job.place, some)) as records:
                for read in records:
                    record = examiner.examine(*read)
                    examiner.tally.findings += check_unsealed(
                        record, job.seals, job.scope.behind, here, job.horizon, now
                    )
            work.end_records(job.conn, job.place, examiner)
    return examiner


def _examine_unsealed_others(job: _Job, tally: Tally) -> Iterator[Finding]:
    """Look at the changes and events without a leaf."""
    for name, what in ((CHANGES, "change"), (EVENTS, "event")):
        with closing(unsealed_others(job.conn, job.place, name)) as rows:
            for key, xid in rows:
                tally.unsealed += 1
                tally.seen_others.add(key or b"")
                covering = [
                    seal.tree_size for seal in job.scope.behind if seal.lacks(None, key or b"", xid)
                ]
                if not covering and job.seals.shows(int(xid or -1), job.here, job.horizon):
                    covering = [job.seals.size]
                if covering:
                    yield inserted(key, xid, what, covering[0])


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
                stored=f"also relations {oids}",
                expected="those that were locked at the start",
            )
        )
    return found
