"""The same verification of a dump: COPY text in files, and no server that could lie.

A folder holds a file for each table, as ``pg_restore -a -t TABLE -f FILE`` writes it; the columns
are found by the header of its COPY block. The rows are put into a file of SQLite beside, so that
memory does not grow with them.
"""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from step_audit.errors import TrustError
from step_audit.setup.sources import load_sources
from step_audit.trust.verify.checkpoints import compare_checkpoint
from step_audit.trust.verify.completeness import make_key
from step_audit.trust.verify.copying import Row, read_text_line
from step_audit.trust.verify.dump_columns import checker
from step_audit.trust.verify.ends import last_place, unsealed_leaf
from step_audit.trust.verify.fields import RESULT_STATES
from step_audit.trust.verify.log import BLOCK, RANGE, Log, check_subtrees, fold
from step_audit.trust.verify.records import Examiner, Scope, Tally, lies_between
from step_audit.trust.verify.report import Counts, Finding, Report, Signed, Source
from step_audit.trust.verify.seals import Horizon, Seals, check_unsealed
from step_audit.trust.verify.signed_seals import SignedSeals
from step_audit.trust.verify.tables import (
    ANOMALIES,
    AUDIT,
    HOST,
    LEAVES,
    OWN,
    SALTS,
    SEALS,
    STEPS,
    SUBTREES,
    TRANSITIONS,
)

_HEADER = re.compile(
    rb'COPY (?:(?P<schema>"(?:[^"]|"")+"|\w+)\.)?(?P<table>"(?:[^"]|"")+"|\w+) '
    rb"\((?P<columns>.*)\) FROM stdin;"
)
_NEEDED = {
    name: tuple(OWN.get(name) or HOST[name])
    for name in (AUDIT, ANOMALIES, LEAVES, SALTS, SUBTREES, SEALS, STEPS, TRANSITIONS)
}
# Today's engine calls its tables without the prefix.
_OTHER_NAMES = {
    STEPS.removeprefix("tasker_"): STEPS,
    TRANSITIONS.removeprefix("tasker_"): TRANSITIONS,
}
_WHOLE_NUMBERS = frozenset({"leaf_index", "height", "subtree_index", "tree_size"})
_INDEXES = {
    AUDIT: ("workflow_step_result_audit_uuid", "workflow_step_transition_uuid"),
    ANOMALIES: ("workflow_step_result_audit_uuid",),
    LEAVES: ("leaf_index", "record_uuid"),
    SALTS: ("leaf_index",),
    STEPS: ("workflow_step_uuid",),
    TRANSITIONS: ("workflow_step_transition_uuid",),
}
_ZONE = re.compile(
    rb"^(?P<time>.*?)(?P<sign>[+-])(?P<hours>\d\d)(?::?(?P<minutes>\d\d))?(?P<era> BC)?$"
)

_AUDIT_COLUMNS = ", ".join(f"a.{column}" for column in OWN[AUDIT])
_RECORD = f"""
SELECT
    l.leaf_index, l.kind, l.record_uuid, l.leaf_hash, s.salt, {_AUDIT_COLUMNS},
    t.workflow_step_uuid, t.from_state, t.to_state, t.created_at, t.metadata, p.task_uuid
"""
_JOINED = f"""
LEFT JOIN {TRANSITIONS} AS t
    ON t.workflow_step_transition_uuid = a.workflow_step_transition_uuid
    AND t.workflow_step_uuid = a.workflow_step_uuid
LEFT JOIN {STEPS} AS p ON p.workflow_step_uuid = a.workflow_step_uuid
"""
_SEALED = f"""{_RECORD}
FROM {LEAVES} AS l
LEFT JOIN {SALTS} AS s ON s.leaf_index = l.leaf_index
LEFT JOIN {AUDIT} AS a ON a.workflow_step_result_audit_uuid = l.record_uuid
{_JOINED}
WHERE l.leaf_index >= ? AND l.leaf_index < ?
"""
_UNSEALED = f"""{_RECORD}
FROM {AUDIT} AS a
LEFT JOIN {LEAVES} AS l ON l.record_uuid = a.workflow_step_result_audit_uuid
LEFT JOIN {SALTS} AS s ON s.leaf_index = l.leaf_index
{_JOINED}
WHERE l.leaf_index IS NULL
"""
_MISSING = f"""
SELECT DISTINCT t.workflow_step_transition_uuid, t.created_at, t.to_state
FROM {TRANSITIONS} AS t
WHERE NOT EXISTS (
    SELECT 1 FROM {AUDIT} AS a
    WHERE
        a.workflow_step_transition_uuid = t.workflow_step_transition_uuid
        AND a.workflow_step_uuid = t.workflow_step_uuid
)
"""
_EXTRA = f"""
SELECT a.workflow_step_transition_uuid, a.workflow_step_result_audit_uuid, a.recorded_at
FROM {AUDIT} AS a
WHERE NOT EXISTS (
    SELECT 1 FROM {TRANSITIONS} AS t
    WHERE
        t.workflow_step_transition_uuid = a.workflow_step_transition_uuid
        AND t.workflow_step_uuid = a.workflow_step_uuid
        AND t.to_state IN (?, ?)
)
"""

_DOUBLED_RESULTS = f"""
SELECT t.workflow_step_transition_uuid
FROM {TRANSITIONS} AS t
WHERE t.to_state IN (?, ?)
GROUP BY t.workflow_step_transition_uuid, t.workflow_step_uuid
HAVING count(*) > 1
"""
_DOUBLED_ROWS = f"""
SELECT a.workflow_step_transition_uuid, max(a.workflow_step_result_audit_uuid)
FROM {AUDIT} AS a
GROUP BY a.workflow_step_transition_uuid, a.workflow_step_uuid
HAVING count(*) > 1
"""


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
    from step_audit.trust.verify.run import as_copied, check_times  # noqa: PLC0415

    check_times(since, until)
    scope = Scope(make_key(), False, True, as_copied(since), as_copied(until))
    with tempfile.TemporaryDirectory(prefix="step-audit-") as place:
        store = sqlite3.connect(str(Path(place) / "dump"), isolation_level=None)
        try:
            rows, engine = _load(store, folder)
            seals = Seals.from_rows(_rows(store, SEALS, *_NEEDED[SEALS]))
            findings, tally, not_looked_at = _verify(store, scope, seals, signed)
        finally:
            store.close()
    counts = Counts(
        audit_rows=rows[AUDIT],
        results=tally.results,
        compared=tally.tally.compared,
        sealed=seals.size,
        leaves=tally.tally.leaves,
        unsealed=tally.tally.unsealed,
        waiting=len(seals.newest.waiting) if seals.newest else 0,
        anomalies=tally.tally.anomalies,
        unread=tally.tally.unread,
    )
    return Report(
        tuple(dict.fromkeys(findings)),
        Source(
            f"the dump in {folder}",
            "unknown",
            "nobody: no server was asked",
            release=load_sources().release,
            engine_tables=engine,
        ),
        counts,
        datetime.now(UTC),
        since,
        until,
        signed,
        tuple(not_looked_at),
    )


@dataclass
class _Done:
    tally: Tally
    results: int


def _load(store: sqlite3.Connection, folder: Path) -> tuple[dict[str, int], str]:
    store.execute("PRAGMA journal_mode = OFF")
    store.execute("PRAGMA synchronous = OFF")
    for table, columns in _NEEDED.items():
        store.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
    loaded: dict[str, int] = {}
    engine = "unknown"
    store.execute("BEGIN")
    for path in sorted(each for each in folder.iterdir() if each.is_file()):
        for table, found, schema in _load_file(store, path):
            loaded[table] = loaded.get(table, 0) + found
            if table == TRANSITIONS:
                engine = schema
    store.execute("COMMIT")
    lacking = [table for table in _NEEDED if table not in loaded]
    if lacking:
        raise TrustError(
            f"{folder} has no rows of {', '.join(lacking)}; nothing was verified. Write each table "
            "of step-audit's, and the engine's steps and transitions, into a file there: "
            "pg_restore -a -t TABLE -f FILE"
        )
    for table, columns in _INDEXES.items():
        for column in columns:
            store.execute(f"CREATE INDEX idx_{table}_{column} ON {table} ({column})")
    return loaded, engine


def _load_file(store: sqlite3.Connection, path: Path) -> Iterator[tuple[str, int, str]]:
    with path.open("rb") as opened:
        file = enumerate(opened, 1)
        for _, line in file:
            header = _HEADER.fullmatch(line.rstrip(b"\r\n"))
            if not header:
                continue
            name = header["table"].decode(errors="replace").strip('"')
            schema = (header["schema"] or b"").decode(errors="replace").strip('"')
            table = _OTHER_NAMES.get(name, name)
            if table not in _NEEDED:
                for _ in _block(file, path):
                    pass
                continue
            columns = [
                each.strip().strip(b'"').decode(errors="replace")
                for each in header["columns"].split(b",")
            ]
            places = _places(path, table, columns)
            marks = ", ".join("?" * len(places))
            inserted = store.executemany(
                f"INSERT INTO {table} VALUES ({marks})",
                _values(file, path, table, places, len(columns)),
            )
            yield table, max(inserted.rowcount, 0), f"{schema}.{name}"


def _values(
    file: Iterator[tuple[int, bytes]], path: Path, table: str, places: list[int], width: int
) -> Iterator[list[Any]]:
    columns = [
        (column, at, checker(table, column))
        for column, at in zip(_NEEDED[table], places, strict=True)
    ]
    for number, line in _block(file, path):
        try:
            line.decode()
        except UnicodeDecodeError as error:
            raise _mangled(path, number, "it is not in UTF-8") from error
        row = read_text_line(line)
        if len(row) != width:
            raise _mangled(path, number, f"it has {len(row)} fields, not {width}")
        for column, at, fits in columns:
            if not fits(row[at]):
                raise _mangled(path, number, f"this is no {column} of {table}")
        try:
            yield [_value(column, row[at]) for column, at, _ in columns]
        except OverflowError as error:
            raise _mangled(path, number, "its time cannot be moved to UTC") from error


def _mangled(path: Path, number: int, what: str) -> TrustError:
    return TrustError(
        f"{path}, line {number}: {what}; nothing was verified. Was the file cut or edited? "
        "Write it anew by pg_restore -a -t TABLE -f FILE, in UTF-8."
    )


def _places(path: Path, table: str, columns: list[str]) -> list[int]:
    lacking = [column for column in _NEEDED[table] if column not in columns]
    if lacking:
        raise TrustError(
            f"{path}: {table} has no column {lacking[0]}; nothing was verified. "
            "Was it dumped by another release?"
        )
    return [columns.index(column) for column in _NEEDED[table]]


def _block(file: Iterator[tuple[int, bytes]], path: Path) -> Iterator[tuple[int, bytes]]:
    for number, line in file:
        text = line.rstrip(b"\r\n")
        if text == b"\\.":
            return
        yield number, text
    raise TrustError(
        f"{path} ends within a table's rows; nothing was verified. Write it anew, as a whole."
    )


def _value(column: str, value: bytes | None) -> Any:
    if value is None:
        return None
    if column in _WHOLE_NUMBERS:
        return int(value)
    if column == "created_at":
        return _in_utc(value)
    return value


def _in_utc(time: bytes) -> bytes:
    """A time with a zone as a timestamp of UTC; one without as it is."""
    match = _ZONE.fullmatch(time)
    if not match or b" " not in match["time"]:
        return time
    if match["hours"] == b"00" and not int(match["minutes"] or 0):
        return match["time"] + (match["era"] or b"")
    offset = timedelta(hours=int(match["hours"]), minutes=int(match["minutes"] or 0))
    try:
        local = datetime.fromisoformat(match["time"].decode())
    except ValueError:
        return time
    moved = local - offset if match["sign"] == b"+" else local + offset
    text = moved.isoformat(sep=" ")
    return (text.rstrip("0") if "." in text else text).encode()


def _rows(store: sqlite3.Connection, table: str, *columns: str) -> Iterator[Row]:
    for row in store.execute(f"SELECT {', '.join(columns)} FROM {table}"):
        yield [_as_bytes(value) for value in row]


def _as_bytes(value: Any) -> bytes | None:
    return str(value).encode() if isinstance(value, int) else value


def _verify(
    store: sqlite3.Connection, scope: Scope, seals: Seals, signed: Signed | None
) -> tuple[list[Finding], _Done, list[str]]:
    findings = [*_unpaired(store, scope)]
    (leaves,) = store.execute(f"SELECT count(*) FROM {LEAVES}").fetchone()
    (highest,) = store.execute(
        f"SELECT max(leaf_index) FROM {LEAVES} WHERE leaf_index < ?",
        (last_place(seals.size, leaves),),
    ).fetchone()
    size = 0 if highest is None else max(0, highest + 1)
    findings += [
        unsealed_leaf(str(index).encode(), uuid, leaf)
        for index, uuid, leaf in store.execute(
            f"SELECT leaf_index, record_uuid, leaf_hash FROM {LEAVES} "
            "WHERE leaf_index < 0 OR leaf_index >= ?",
            (size,),
        )
    ]
    from_leaf = signed.older.tree_size if signed and signed.older else 0
    signed_seals = SignedSeals.of(signed, seals)
    scope = replace(scope, behind=signed_seals.behind_in_dump())
    examiner = Examiner(scope)
    ranges = []
    for first in range(0, size, RANGE):
        until = min(first + RANGE, size)
        ranges.append(_examine_range(store, examiner, first, until, from_leaf))
    log = Log.of(ranges)
    if seals.size > size:
        log.gaps.append((size, seals.size - 1))
    findings += log.findings()
    stored = {
        (int(height or 0), int(index or 0)): _hash(root)
        for height, index, root in _rows(store, SUBTREES, "height", "subtree_index", "root_hash")
    }
    findings += check_subtrees(log, stored)
    source = Source("", "", "")
    agreeing = []
    for checkpoint in signed.checkpoints if signed else ():
        root = None
        if checkpoint.tree_size <= size:
            first = checkpoint.tree_size // BLOCK * BLOCK
            tail = _hashes(store, first, checkpoint.tree_size)
            hashes = [tail.get(index, b"") for index in range(first, checkpoint.tree_size)]
            root = log.root(checkpoint.tree_size, hashes)
        found = list(compare_checkpoint(checkpoint, seals.size, root, source))
        if not found:
            agreeing.append(checkpoint)
        findings += found
    altered = list(signed_seals.findings(agreeing))
    findings += altered
    findings += signed_seals.lost(agreeing, partial(_known_keys, store))
    findings += seals.findings(from_leaf, {each.field for each in altered})
    findings += _examine_unsealed(store, examiner, seals)
    results = sum(
        lies_between(time, scope.since, scope.until)
        for (time,) in store.execute(
            f"SELECT created_at FROM {TRANSITIONS} WHERE to_state IN (?, ?)",
            tuple(sorted(RESULT_STATES)),
        )
    )
    not_looked_at = [
        "the catalog of the database, as a dump of rows has none",
        "audit rows without a leaf that were inserted behind a seal, or such sealed elsewhere than "
        "the signed seal: a dump does not say where it was made",
        *signed_seals.not_looked_at(),
    ]
    if not signed:
        not_looked_at.append(
            "whether the log was written anew as a whole: give --checkpoint and --public-key"
        )
    if from_leaf:
        not_looked_at.append(
            f"records below leaf {from_leaf}: neither their leaves nor their fields"
        )
    if (scope.since or scope.until) and not results:
        not_looked_at.append("any result: none lies in that range of time")
    return findings + examiner.tally.findings, _Done(examiner.tally, results), not_looked_at


def _examine_range(
    store: sqlite3.Connection, examiner: Examiner, first: int, until: int, from_leaf: int
) -> Any:
    hashes = _hashes(store, first, until)
    counts = store.execute(
        f"SELECT leaf_index FROM {LEAVES} WHERE leaf_index >= ? AND leaf_index < ? "
        "GROUP BY 1 HAVING count(*) > 1",
        (first, until),
    )
    twice = [index for (index,) in counts]
    start = max(first, from_leaf)
    if start < until:
        examiner.anomalies = _anomalies(
            store, "l.leaf_index >= ? AND l.leaf_index < ?", (start, until)
        )
        for row in store.execute(_SEALED, (start, until)):
            examiner.examine([_as_bytes(value) for value in row])
        examiner.end_range()
    return fold(first, until, hashes, twice)


def _examine_unsealed(
    store: sqlite3.Connection, examiner: Examiner, seals: Seals
) -> Iterator[Finding]:
    examiner.anomalies = _anomalies(store, "l.leaf_index IS NULL", ())
    newest = seals.newest
    for row in store.execute(_UNSEALED):
        record = examiner.examine([_as_bytes(value) for value in row])
        if newest and newest.sealed_at and (record.audit_uuid or b"").decode() in newest.waiting:
            horizon = Horizon(2**64)
            yield from check_unsealed(
                record, seals, (), newest.place or "", horizon, newest.sealed_at
            )
    examiner.end_range()


def _known_keys(store: sqlite3.Connection, keys: list[str]) -> set[str]:
    found = set()
    for table, column in ((AUDIT, "workflow_step_result_audit_uuid"), (LEAVES, "record_uuid")):
        query = f"SELECT 1 FROM {table} WHERE {column} = ? LIMIT 1"
        found |= {key for key in keys if store.execute(query, (key.encode(),)).fetchone()}
    return found


def _anomalies(store: sqlite3.Connection, where: str, bounds: tuple[int, ...]) -> dict[Any, Any]:
    from step_audit.trust.verify.work import read_anomalies  # noqa: PLC0415

    return read_anomalies(
        store.execute(
            f"SELECT n.workflow_step_result_audit_uuid, n.field, n.raw_value, n.reason "
            f"FROM {ANOMALIES} AS n LEFT JOIN {LEAVES} AS l "
            f"ON l.record_uuid = n.workflow_step_result_audit_uuid WHERE {where}",
            bounds,
        )
    )


def _hashes(store: sqlite3.Connection, first: int, until: int) -> dict[int, bytes]:
    return {
        index: _hash(leaf)
        for index, leaf in store.execute(
            f"SELECT leaf_index, leaf_hash FROM {LEAVES} WHERE leaf_index >= ? AND leaf_index < ?",
            (first, until),
        )
    }


def _hash(text: bytes | None) -> bytes:
    return bytes.fromhex((text or b"\\x").removeprefix(b"\\x").decode())


def _unpaired(store: sqlite3.Connection, scope: Scope) -> Iterator[Finding]:
    for uuid, time, state in store.execute(_MISSING):
        if state in RESULT_STATES and lies_between(time, scope.since, scope.until):
            yield Finding("missing", UUID(uuid.decode()))
    for transition, audit, time in store.execute(_EXTRA, tuple(sorted(RESULT_STATES))):
        if lies_between(time, scope.since, scope.until):
            yield Finding("extra", UUID(transition.decode()), UUID(audit.decode()))
    for (transition,) in store.execute(_DOUBLED_RESULTS, tuple(sorted(RESULT_STATES))):
        yield Finding("doubled", UUID(transition.decode()))
    for transition, audit in store.execute(_DOUBLED_ROWS):
        yield Finding("doubled", UUID(transition.decode()), UUID(audit.decode()))
