"""The pieces of a verification that readers of one snapshot can do side by side."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass

from psycopg import sql

from step_audit.database import Connection
from step_audit.trust.verify.change_queries import (
    gone_results,
    keys_of_others,
    sealed_others,
    versions_of_records,
    versions_of_transitions,
)
from step_audit.trust.verify.changes import OTHER_KINDS, ChangeExaminer
from step_audit.trust.verify.completeness import Sums
from step_audit.trust.verify.copying import Row
from step_audit.trust.verify.fields import RESULT_STATES
from step_audit.trust.verify.log import Leaves, fold
from step_audit.trust.verify.queries import (
    anomalies_between,
    columns_of,
    sealed_records,
)
from step_audit.trust.verify.records import Examiner, Scope, Tally, lies_between, without_zone
from step_audit.trust.verify.tables import AUDIT, CHANGES, EVENTS, LEAVES, TRANSITIONS, Place

_TEXTS = (25, 1043)


@dataclass(frozen=True)
class Range:
    """Leaves to look at; those below ``from_leaf`` by their hashes only."""

    first: int
    until: int
    from_leaf: int


@dataclass(frozen=True)
class Examined:
    """What a range of leaves holds."""

    leaves: Leaves
    tally: Tally


@dataclass(frozen=True)
class Pairs:
    """The results of one side: by transition and step, and how many lie in the range of time."""

    pairs: Sums
    keys: Sums
    in_range: int


def examine_range(
    conn: Connection, place: Place, scope: Scope, todo: Range, has_anomalies: bool
) -> Examined:
    """Look at a range of leaves: each record, and the leaf hashes."""
    examiner = Examiner(scope)
    hashes: dict[int, bytes] = {}
    twice: set[int] = set()
    # Of each leaf: its record.
    noted: dict[int, bytes | None] = {}
    first = max(todo.first, todo.from_leaf)
    if first > todo.first:
        with closing(leaf_hashes(conn, place, todo.first, first)) as rows:
            for row in rows:
                _note(row, hashes, twice)
                if row[2] is not None:
                    is_other = (row[3] or b"").decode() in OTHER_KINDS
                    tally = examiner.tally
                    (tally.seen_others if is_other else tally.seen).add(row[2])
    if first < todo.until:
        if has_anomalies:
            with closing(anomalies_between(conn, place, first, todo.until)) as rows:
                examiner.anomalies = read_anomalies(rows)
        with closing(sealed_records(conn, place, first, todo.until)) as records:
            for read in records:
                # A transition that is there twice brings a leaf twice, but it is the same one.
                _note_record(read.row, hashes, twice, noted)
                examiner.examine(*read)
        end_records(conn, place, examiner)
        others = ChangeExaminer(scope, examiner.tally)
        for name, examine in ((CHANGES, others.examine_change), (EVENTS, others.examine_event)):
            with closing(sealed_others(conn, place, name, first, todo.until)) as rows:
                for row in rows:
                    _note_record(row, hashes, twice, noted)
                    examine(row)
        if others.updated:
            with closing(versions_of_transitions(conn, place, others.updated)) as rows:
                for row in rows:
                    others.examine_version(row)
        others.end_range()
    return Examined(fold(todo.first, todo.until, hashes, twice), examiner.tally)


def end_records(conn: Connection, place: Place, examiner: Examiner) -> None:
    """Look at the records that do not fit as their transitions stood before a change."""
    if examiner.unfit:
        with closing(versions_of_records(conn, place, examiner.unfit)) as rows:
            for row, is_json in rows:
                examiner.examine_version(row, is_json)
    examiner.end_range()


def leaf_hashes(conn: Connection, place: Place, first: int, until: int) -> Generator[Row]:
    """Index, hash, record and kind of a range of leaves."""
    where = sql.SQL(
        "t.leaf_index OPERATOR(pg_catalog.>=) {}::pg_catalog.int8 "
        "AND t.leaf_index OPERATOR(pg_catalog.<) {}::pg_catalog.int8"
    ).format(sql.Literal(first), sql.Literal(until))
    columns = ("leaf_index", "leaf_hash", "record_uuid", "kind")
    return columns_of(conn, place, LEAVES, *columns, where=where, by_index=True)


def read_anomalies(rows: Iterable[Row]) -> dict[bytes, dict[str, tuple[str | None, str]]]:
    """Anomalies by audit row and field."""
    found: dict[bytes, dict[str, tuple[str | None, str]]] = {}
    for uuid, field, raw, reason in rows:
        assert uuid is not None
        raw_value = None if raw is None else raw.decode()
        found.setdefault(uuid, {})[(field or b"").decode()] = (raw_value, (reason or b"").decode())
    return found


def audit_pairs(conn: Connection, place: Place, scope: Scope) -> Pairs:
    """The audit rows by transition and step, and by their own key."""
    found = Pairs(Sums(scope.key), Sums(scope.key), 0)
    with closing(audit_rows(conn, place)) as rows:
        for audit, pair, _ in rows:
            found.keys.add(audit)
            found.pairs.add(pair)
    return found


def audit_rows(conn: Connection, place: Place) -> Generator[tuple[bytes, bytes, bytes | None]]:
    """Key, transition and step, and time of each audit row, by a sequential scan."""
    columns = (
        "workflow_step_result_audit_uuid",
        "workflow_step_transition_uuid",
        "workflow_step_uuid",
        "recorded_at",
    )
    with closing(columns_of(conn, place, AUDIT, *columns)) as rows:
        for audit, transition, step, time in rows:
            yield audit or b"", b"%b %b" % (transition or b"", step or b""), time


def result_pairs(conn: Connection, place: Place, scope: Scope) -> Pairs:
    """The worker results, those that are gone too, by transition and step."""
    found = Pairs(Sums(scope.key), Sums(scope.key), 0)
    in_range = 0
    with closing(result_rows(conn, place, scope)) as rows:
        for pair, time in rows:
            found.pairs.add(pair)
            in_range += lies_between(time, scope.since, scope.until)
    return Pairs(found.pairs, found.keys, in_range)


def result_rows(
    conn: Connection, place: Place, scope: Scope
) -> Generator[tuple[bytes, bytes | None]]:
    """Transition and step, and time of each worker result, by a sequential scan.

    First those that stand, then those of which only changes tell.
    """
    columns = ("to_state", "workflow_step_transition_uuid", "workflow_step_uuid", "created_at")
    where = None
    if place[TRANSITIONS].types["to_state"] in _TEXTS:
        # Of pg_catalog's types, so that nobody's operator or cast is run.
        where = sql.SQL(
            "t.to_state::pg_catalog.text OPERATOR(pg_catalog.=) ANY ({}::pg_catalog.text[])"
        ).format(sql.Literal([state.decode() for state in sorted(RESULT_STATES)]))
    with closing(columns_of(conn, place, TRANSITIONS, *columns, where=where)) as rows:
        for state, transition, step, time in rows:
            if state in RESULT_STATES:
                pair = b"%b %b" % (transition or b"", step or b"")
                yield pair, without_zone(time) if scope.has_zone else time
    with closing(gone_results(conn, place)) as rows:
        for transition, step, time, state in rows:
            if state not in RESULT_STATES:
                yield b"%b %b" % (transition or b"", step or b""), time


def keys_of_all_others(conn: Connection, place: Place, scope: Scope) -> Sums:
    """The changes and events by their keys."""
    found = Sums(scope.key)
    for name in (CHANGES, EVENTS):
        with closing(keys_of_others(conn, place, name)) as keys:
            for key in keys:
                found.add(key)
    return found


def _note_record(
    row: Row, hashes: dict[int, bytes], twice: set[int], noted: dict[int, bytes | None]
) -> None:
    index = int(row[0] or 0)
    if noted.setdefault(index, row[2]) == row[2]:
        hashes[index] = _bytes(row[3])
    else:
        twice.add(index)


def _note(row: Row, hashes: dict[int, bytes], twice: set[int]) -> None:
    index = int(row[0] or 0)
    if index in hashes:
        twice.add(index)
    hashes[index] = _bytes(row[1])


def _bytes(value: bytes | None) -> bytes:
    return bytes.fromhex((value or b"")[2:].decode())
