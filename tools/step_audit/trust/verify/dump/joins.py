"""What is read of a dump once it is loaded: records with their leaves, and what has no partner."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

from step_audit.trust.verify.accounts import ERASED, PURGED
from step_audit.trust.verify.change_queries import KEYS, KINDS
from step_audit.trust.verify.changes import OTHER_KINDS
from step_audit.trust.verify.copying import Row
from step_audit.trust.verify.ends import last_place, unsealed_leaf
from step_audit.trust.verify.fields import RESULT_STATES, Anomalies
from step_audit.trust.verify.records import Scope, doubled, lies_between
from step_audit.trust.verify.report import Finding
from step_audit.trust.verify.tables import (
    ANOMALIES,
    AUDIT,
    CHANGES,
    DELETED_STEPS,
    EVENTS,
    LEAVES,
    OWN,
    SALTS,
    STEPS,
    SUBTREES,
    TRANSITIONS,
)
from step_audit.trust.verify.work import read_anomalies

_AUDIT_COLUMNS = ", ".join(f"a.{column}" for column in OWN[AUDIT])
_RECORD = f"""
SELECT
    l.leaf_index, l.kind, l.record_uuid, l.leaf_hash, s.salt, {_AUDIT_COLUMNS},
    t.workflow_step_uuid, t.from_state, t.to_state, t.created_at, t.metadata,
    coalesce(p.task_uuid, (
        SELECT d.task_uuid FROM {DELETED_STEPS} AS d
        WHERE d.workflow_step_uuid = a.workflow_step_uuid LIMIT 1
    ))
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
WHERE l.kind NOT IN (?, ?, ?) AND l.leaf_index >= ? AND l.leaf_index < ?
"""
_OTHERS = f"""
SELECT l.leaf_index, l.kind, l.record_uuid, l.leaf_hash, s.salt, {{columns}}
FROM {LEAVES} AS l
LEFT JOIN {SALTS} AS s ON s.leaf_index = l.leaf_index
LEFT JOIN {{table}} AS r ON r.{{key}} = l.record_uuid
WHERE l.kind IN ({{kinds}}) AND l.leaf_index >= ? AND l.leaf_index < ?
"""
_KEPT = f"""
SELECT
    c.workflow_step_transition_uuid, c.step_audit_change_uuid, c.workflow_step_uuid, c.from_state,
    c.to_state, c.sort_key, c.transition_created_at, c.metadata, c.metadata_json
FROM {CHANGES} AS c
WHERE c.workflow_step_transition_uuid = ?
"""
_STANDING = f"""
SELECT
    t.workflow_step_transition_uuid, NULL, t.workflow_step_uuid, t.from_state, t.to_state,
    t.sort_key, t.created_at, NULL, t.metadata
FROM {TRANSITIONS} AS t
WHERE t.workflow_step_transition_uuid = ?
"""
_VERSIONS = f"""
SELECT
    l.leaf_index, l.kind, l.record_uuid, l.leaf_hash, s.salt, {_AUDIT_COLUMNS},
    c.workflow_step_uuid, c.from_state, c.to_state, c.transition_created_at,
    coalesce(c.metadata_json, c.metadata), coalesce(p.task_uuid, d.task_uuid),
    c.metadata_json IS NOT NULL
FROM {AUDIT} AS a
JOIN {CHANGES} AS c
    ON c.workflow_step_transition_uuid = a.workflow_step_transition_uuid
    AND c.workflow_step_uuid = a.workflow_step_uuid
LEFT JOIN {LEAVES} AS l ON l.record_uuid = a.workflow_step_result_audit_uuid
LEFT JOIN {SALTS} AS s ON s.leaf_index = l.leaf_index
LEFT JOIN {STEPS} AS p ON p.workflow_step_uuid = a.workflow_step_uuid
LEFT JOIN {DELETED_STEPS} AS d ON d.workflow_step_uuid = a.workflow_step_uuid
WHERE a.workflow_step_result_audit_uuid = ?
"""
# The results of which only changes tell.
_GONE = f"""
SELECT c.workflow_step_transition_uuid, c.workflow_step_uuid, min(c.transition_created_at)
FROM {CHANGES} AS c
WHERE NOT EXISTS (
    SELECT 1 FROM {TRANSITIONS} AS t
    WHERE
        t.workflow_step_transition_uuid = c.workflow_step_transition_uuid
        AND t.workflow_step_uuid = c.workflow_step_uuid
        AND t.to_state IN (?, ?)
)
GROUP BY c.workflow_step_transition_uuid, c.workflow_step_uuid
"""
_AUDITS = f"""
SELECT a.workflow_step_transition_uuid, a.workflow_step_result_audit_uuid, a.backfilled
FROM {AUDIT} AS a
WHERE a.workflow_step_transition_uuid = ?
"""
_CHANGES_OF_RISEN = f"""
SELECT c.workflow_step_transition_uuid, c.step_audit_change_uuid, c.operation
FROM {CHANGES} AS c
WHERE c.workflow_step_transition_uuid IN (
    SELECT t.workflow_step_transition_uuid FROM {TRANSITIONS} AS t
    INTERSECT
    SELECT d.workflow_step_transition_uuid FROM {CHANGES} AS d WHERE d.operation <> ?
)
"""
_OF_LEAF = f"""
SELECT a.workflow_step_transition_uuid, l.leaf_index
FROM {LEAVES} AS l
JOIN {AUDIT} AS a ON a.workflow_step_result_audit_uuid = l.record_uuid
WHERE l.leaf_index = ?1
UNION ALL
SELECT c.workflow_step_transition_uuid, l.leaf_index
FROM {LEAVES} AS l
JOIN {CHANGES} AS c ON c.step_audit_change_uuid = l.record_uuid
WHERE l.leaf_index = ?1
"""
_LEFT = f"""
SELECT
    c.workflow_step_transition_uuid, c.step_audit_change_uuid, l.leaf_index, c.workflow_step_uuid,
    c.from_state, c.to_state, c.sort_key, c.transition_created_at,
    coalesce(c.metadata, c.metadata_json)
FROM {CHANGES} AS c
LEFT JOIN {LEAVES} AS l ON l.record_uuid = c.step_audit_change_uuid
WHERE c.workflow_step_transition_uuid = ?1
UNION ALL
SELECT
    t.workflow_step_transition_uuid, NULL, NULL, t.workflow_step_uuid, t.from_state, t.to_state,
    t.sort_key, t.created_at, t.metadata
FROM {TRANSITIONS} AS t
WHERE t.workflow_step_transition_uuid = ?1
"""
_ACCOUNTS = f"""
SELECT
    e.kind, e.workflow_step_transition_uuid, e.payload, e.recorded_by, e.recorded_at,
    e.step_audit_event_uuid, l.leaf_index
FROM {EVENTS} AS e
LEFT JOIN {LEAVES} AS l ON l.record_uuid = e.step_audit_event_uuid
WHERE e.kind IN (?, ?)
"""
_UNSEALED = f"""{_RECORD}
FROM {AUDIT} AS a
LEFT JOIN {LEAVES} AS l ON l.record_uuid = a.workflow_step_result_audit_uuid
LEFT JOIN {SALTS} AS s ON s.leaf_index = l.leaf_index
{_JOINED}
WHERE l.leaf_index IS NULL
"""
_ANOMALIES = f"""
SELECT n.workflow_step_result_audit_uuid, n.field, n.raw_value, n.reason
FROM {ANOMALIES} AS n
LEFT JOIN {LEAVES} AS l ON l.record_uuid = n.workflow_step_result_audit_uuid
"""
_MISSING = f"""
SELECT DISTINCT t.workflow_step_transition_uuid, t.created_at
FROM {TRANSITIONS} AS t
WHERE
    t.to_state IN (?, ?)
    AND NOT EXISTS (
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
AND NOT EXISTS (
    SELECT 1 FROM {CHANGES} AS c
    WHERE
        c.workflow_step_transition_uuid = a.workflow_step_transition_uuid
        AND c.workflow_step_uuid = a.workflow_step_uuid
)
"""
_IS_AUDITED = f"""
SELECT 1 FROM {AUDIT} AS a
WHERE a.workflow_step_transition_uuid = ? AND a.workflow_step_uuid = ?
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
_ROWS_OF_ONE_KEY = f"""
SELECT a.workflow_step_transition_uuid, a.workflow_step_result_audit_uuid
FROM {AUDIT} AS a
WHERE a.workflow_step_result_audit_uuid IN (
    SELECT b.workflow_step_result_audit_uuid
    FROM {AUDIT} AS b
    GROUP BY b.workflow_step_result_audit_uuid
    HAVING count(*) > 1
)
"""
_LEAVES_OF_ONE_RECORD = f"""
SELECT l.record_uuid
FROM {LEAVES} AS l
GROUP BY l.record_uuid
HAVING count(*) > 1
"""
_RESULTS = tuple(sorted(RESULT_STATES))


class Joined:
    """The tables of a dump; fields as COPY prints them, times in UTC and without zone."""

    def __init__(self, store: sqlite3.Connection) -> None:
        self._store = store

    def rows(self, table: str, *columns: str) -> Iterator[Row]:
        """Columns of a table, in no order."""
        return self._query(f"SELECT {', '.join(columns)} FROM {table}")

    def sealed_records(self, first: int, until: int) -> Iterator[Row]:
        """The records of a range of leaves."""
        return self._query(_SEALED, *_encoded(OTHER_KINDS), first, until)

    def sealed_others(self, name: str, first: int, until: int) -> Iterator[Row]:
        """The changes, or the events, of a range of leaves."""
        kinds = KINDS[name]
        query = _OTHERS.format(
            columns=", ".join(f"r.{column}" for column in OWN[name]),
            table=name,
            key=KEYS[name],
            kinds=", ".join("?" * len(kinds)),
        )
        return self._query(query, *_encoded(kinds), first, until)

    def versions_of_transitions(self, keys: list[str]) -> Iterator[Row]:
        """What changes of some transitions kept, and how these stand."""
        for key in keys:
            yield from self._query(_KEPT, key.encode())
            yield from self._query(_STANDING, key.encode())

    def versions_of_records(self, keys: list[str]) -> Iterator[tuple[Row, bool]]:
        """Audit rows with each version that a change kept; whether it is json."""
        for key in keys:
            for *row, is_json in self._query(_VERSIONS, key.encode()):
                yield row, is_json == b"1"

    def changes_of_risen(self) -> Iterator[Row]:
        """Each change of a transition that was deleted, or the like, and stands."""
        return self._query(_CHANGES_OF_RISEN, b"update")

    def audits_of_transitions(self, keys: list[str]) -> Iterator[Row]:
        """Transition, key and whether backfilled of the audit rows of some transitions."""
        for key in keys:
            yield from self._query(_AUDITS, key.encode())

    def purges_and_erasures(self) -> Iterator[Row]:
        """The events that account for leaves, as :func:`.accounts.read_accounts` takes them."""
        return self._query(_ACCOUNTS, PURGED.encode(), ERASED.encode())

    def transitions_of(self, indexes: Iterable[int]) -> Iterator[tuple[bytes, bytes]]:
        """The transitions of the results and changes of some leaves, each with the leaf."""
        for index in indexes:
            for transition, leaf in self._query(_OF_LEAF, index):
                if transition:
                    yield transition, leaf or b""

    def left_by_erasures(self, keys: Iterable[bytes]) -> Iterator[Row]:
        """How some transitions stand, and stood before their changes, as :class:`.Left`."""
        for key in keys:
            yield from self._query(_LEFT, key)

    def unsealed_others(self, name: str) -> Iterator[Row]:
        """The keys of the changes, or events, without a leaf."""
        return self._query(
            f"SELECT r.{KEYS[name]} FROM {name} AS r "
            f"WHERE r.{KEYS[name]} NOT IN (SELECT record_uuid FROM {LEAVES})"
        )

    def unsealed_records(self) -> Iterator[Row]:
        """The audit rows without a leaf."""
        return self._query(_UNSEALED)

    def sealed_anomalies(self, first: int, until: int) -> dict[bytes, Anomalies]:
        """Anomalies of the records of a range of leaves."""
        where = "WHERE l.leaf_index >= ? AND l.leaf_index < ?"
        return read_anomalies(self._query(_ANOMALIES + where, first, until))

    def unsealed_anomalies(self) -> dict[bytes, Anomalies]:
        """Anomalies of the audit rows without a leaf."""
        return read_anomalies(self._query(f"{_ANOMALIES} WHERE l.leaf_index IS NULL"))

    def leaf_hashes(self, first: int, until: int) -> dict[int, bytes]:
        """The hashes of a range of leaves by their indexes."""
        return {
            index: _bytes(leaf)
            for index, leaf in self._store.execute(
                f"SELECT leaf_index, leaf_hash FROM {LEAVES} "
                "WHERE leaf_index >= ? AND leaf_index < ?",
                (first, until),
            )
        }

    def doubled_leaves(self, first: int, until: int) -> list[int]:
        """The indexes of a range that several leaves have."""
        found = self._store.execute(
            f"SELECT leaf_index FROM {LEAVES} WHERE leaf_index >= ? AND leaf_index < ? "
            "GROUP BY leaf_index HAVING count(*) > 1",
            (first, until),
        )
        return [index for (index,) in found]

    def subtrees(self) -> dict[tuple[int, int], bytes]:
        """The stored roots by height and index."""
        found = self._store.execute(f"SELECT height, subtree_index, root_hash FROM {SUBTREES}")
        return {(height, index): _bytes(root) for height, index, root in found}

    def end_of_log(self, size: int) -> tuple[int, list[Finding]]:
        """How many places of the log are looked at one by one, and the leaves that lie elsewhere.

        Args:
            size: leaves that the newest seal counts.
        """
        (leaves,) = self._store.execute(f"SELECT count(*) FROM {LEAVES}").fetchone()
        (highest,) = self._store.execute(
            f"SELECT max(leaf_index) FROM {LEAVES} WHERE leaf_index < ?",
            (last_place(size, leaves),),
        ).fetchone()
        end = 0 if highest is None else max(0, highest + 1)
        behind = self._query(
            f"SELECT leaf_index, record_uuid, leaf_hash FROM {LEAVES} "
            "WHERE leaf_index < 0 OR leaf_index >= ?",
            end,
        )
        return end, [unsealed_leaf(index, uuid, leaf) for index, uuid, leaf in behind]

    def known_keys(self, keys: list[str]) -> set[str]:
        """Which of some keys of audit rows are there, or have a leaf."""
        queries = [
            f"SELECT 1 FROM {AUDIT} WHERE workflow_step_result_audit_uuid = ? LIMIT 1",
            f"SELECT 1 FROM {LEAVES} WHERE record_uuid = ? LIMIT 1",
        ]
        return {
            key
            for key in keys
            if any(self._store.execute(each, (key.encode(),)).fetchone() for each in queries)
        }

    def count_results(self, scope: Scope) -> int:
        """How many worker results lie in the range of time."""
        times = self._query(
            f"SELECT created_at FROM {TRANSITIONS} WHERE to_state IN (?, ?)", *_RESULTS
        )
        gone = self._query(_GONE, *_RESULTS)
        return sum(
            lies_between(time, scope.since, scope.until)
            for time in itertools.chain((row[0] for row in times), (row[2] for row in gone))
        )

    def unpaired(self, scope: Scope) -> Iterator[Finding]:
        """Results without an audit row, audit rows without a result, and twins."""
        for uuid, time in self._query(_MISSING, *_RESULTS):
            if lies_between(time, scope.since, scope.until):
                yield Finding("missing", _uuid(uuid))
        for transition, step, time in self._query(_GONE, *_RESULTS):
            is_audited = self._store.execute(_IS_AUDITED, (transition, step)).fetchone()
            if not is_audited and lies_between(time, scope.since, scope.until):
                yield Finding("missing", _uuid(transition))
        for transition, audit, time in self._query(_EXTRA, *_RESULTS):
            if lies_between(time, scope.since, scope.until):
                yield Finding("extra", _uuid(transition), _uuid(audit))
        for (transition,) in self._query(_DOUBLED_RESULTS, *_RESULTS):
            yield Finding("doubled", _uuid(transition))
        for transition, audit in self._query(_DOUBLED_ROWS):
            yield Finding("doubled", _uuid(transition), _uuid(audit))
        for transition, audit in self._query(_ROWS_OF_ONE_KEY):
            yield doubled(audit or b"", transition)
        for (record,) in self._query(_LEAVES_OF_ONE_RECORD):
            yield doubled(record or b"", None)

    def _query(self, query: str, *values: Any) -> Iterator[Row]:
        for row in self._store.execute(query, values):
            yield [str(value).encode() if isinstance(value, int) else value for value in row]


def _encoded(texts: Iterable[str]) -> list[bytes]:
    return [text.encode() for text in texts]


def _bytes(text: bytes) -> bytes:
    return bytes.fromhex(text[2:].decode())


def _uuid(text: bytes | None) -> UUID | None:
    return None if text is None else UUID(text.decode())
