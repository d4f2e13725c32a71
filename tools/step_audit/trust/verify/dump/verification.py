"""A whole verification of a dump: what is looked at, and in which order."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from step_audit.errors import TrustError
from step_audit.setup.sources import load_sources
from step_audit.trust.verify import omissions
from step_audit.trust.verify.accounts import read_accounts
from step_audit.trust.verify.changes import ChangeExaminer, find_risen, last_deleted
from step_audit.trust.verify.completeness import make_key
from step_audit.trust.verify.dump.joins import Joined
from step_audit.trust.verify.dump.loading import NEEDED, load
from step_audit.trust.verify.erasures import find_altered_since
from step_audit.trust.verify.log import RANGE, Leaves, fold
from step_audit.trust.verify.question import as_copied, check_times
from step_audit.trust.verify.records import Examiner, Scope
from step_audit.trust.verify.report import Finding, Report, Signed, Source
from step_audit.trust.verify.seals import Horizon, Seals, check_unsealed
from step_audit.trust.verify.signed_seals import SignedSeals
from step_audit.trust.verify.tables import AUDIT, CHANGES, EVENTS, SEALS
from step_audit.trust.verify.whole import compare_signed, count, judge_log

_NOT_IN_A_DUMP = (
    "the catalog of the database, as a dump of rows has none",
    "audit rows without a leaf that were inserted behind a seal, or such sealed elsewhere than the "
    "signed seal: a dump does not say where it was made",
)


def verify_dump(
    folder: Path,
    since: datetime | None = None,
    until: datetime | None = None,
    signed: Signed | None = None,
) -> Report:
    """Verify completeness, fields and log of a dump.

    Args:
        folder: a file for each table, of any name.
        since: compare results from then on, UTC.
        until: compare results before then, UTC.
        signed: checkpoints that the log must agree with.

    Raises:
        TrustError: a table is not in the folder, or its rows cannot be read.
        UsageError: the range of time is empty.
    """
    check_times(since, until)
    with _store() as store:
        loaded = load(store, folder)
        tables = Joined(store)
        seals = Seals.from_rows(tables.rows(SEALS, *NEEDED[SEALS]))
        signed_seals = SignedSeals.of(signed, seals)
        accounts = read_accounts(tables.purges_and_erasures(), seals.size)
        scope = Scope(
            make_key(),
            has_zone=False,
            is_json=True,
            since=as_copied(since),
            until=as_copied(until),
            behind=signed_seals.behind_in_dump(),
            accounts=accounts,
        )
        examiner = Examiner(scope)
        source = Source(
            f"the dump in {folder}",
            loaded.schema,
            "nobody: no server was asked",
            release=load_sources().release,
            engine_tables=loaded.engine,
        )
        findings = [*tables.unpaired(scope)]
        size, behind = tables.end_of_log(seals.size)
        findings += behind
        ranges = _examine_ranges(tables, examiner, size, signed.from_leaf if signed else 0)
        log, of_the_log = judge_log(ranges, seals, size, tables.subtrees())
        findings += of_the_log
        findings += compare_signed(
            log, signed, seals, signed_seals, source, tables.leaf_hashes, tables.known_keys
        )
        findings += _examine_unsealed(tables, examiner, seals)
        deleted = last_deleted(tables.changes_of_risen())
        keys = [key.decode() for key in deleted]
        findings += find_risen(
            deleted, tables.versions_of_transitions(keys), tables.audits_of_transitions(keys)
        )
        erased = dict(tables.transitions_of(accounts.erased))
        findings += find_altered_since(accounts, erased, tables.left_by_erasures(erased))
        findings += examiner.tally.findings
        counts = count(examiner.tally, loaded.rows[AUDIT], tables.count_results(scope), seals)
    return Report(
        tuple(dict.fromkeys(findings)),
        source,
        counts,
        datetime.now(UTC),
        since,
        until,
        signed,
        (
            *_NOT_IN_A_DUMP,
            *omissions.of_the_question(scope, signed, counts),
            *signed_seals.not_looked_at(),
        ),
        accounts.remarks,
    )


@contextmanager
def _store() -> Iterator[sqlite3.Connection]:
    with tempfile.TemporaryDirectory(prefix="step-audit-") as place:
        store = sqlite3.connect(str(Path(place) / "dump"), isolation_level=None)
        try:
            yield store
        except sqlite3.Error as error:
            raise TrustError(
                f"the rows of the dump could not be kept in {place}: {error}; nothing was "
                "verified. They need as much room there as the files have: name a larger folder "
                "by the environment variable TMPDIR."
            ) from error
        finally:
            store.close()


def _examine_ranges(
    tables: Joined, examiner: Examiner, size: int, from_leaf: int
) -> Iterator[Leaves]:
    whole = examiner.scope
    for first in range(0, size, RANGE):
        until = min(first + RANGE, size)
        start = max(first, from_leaf)
        if start < until:
            examiner.scope = whole.of_range(first, until)
            examiner.anomalies = tables.sealed_anomalies(start, until)
            for row in tables.sealed_records(start, until):
                examiner.examine(row)
            _end_records(tables, examiner)
            _examine_others(tables, examiner, start, until)
        yield fold(
            first, until, tables.leaf_hashes(first, until), tables.doubled_leaves(first, until)
        )
    examiner.scope = whole


def _examine_unsealed(tables: Joined, examiner: Examiner, seals: Seals) -> Iterator[Finding]:
    examiner.anomalies = tables.unsealed_anomalies()
    newest = seals.newest
    for row in tables.unsealed_records():
        record = examiner.examine(row)
        if newest and newest.sealed_at and (record.audit_uuid or b"").decode() in newest.waiting:
            # Whether it waits too long; of nothing else does a dump say where it counts.
            yield from check_unsealed(
                record, seals, (), newest.place or "", Horizon(2**64), newest.sealed_at
            )
    _end_records(tables, examiner)
    for name in (CHANGES, EVENTS):
        examiner.tally.unsealed += sum(1 for _ in tables.unsealed_others(name))


def _end_records(tables: Joined, examiner: Examiner) -> None:
    for row, is_json in tables.versions_of_records(examiner.unfit):
        examiner.examine_version(row, is_json)
    examiner.end_range()


def _examine_others(tables: Joined, examiner: Examiner, first: int, until: int) -> None:
    others = ChangeExaminer(examiner.scope, examiner.tally)
    for row in tables.sealed_others(CHANGES, first, until):
        others.examine_change(row)
    for row in tables.sealed_others(EVENTS, first, until):
        others.examine_event(row)
    for row in tables.versions_of_transitions(others.updated):
        others.examine_version(row)
    others.end_range()
