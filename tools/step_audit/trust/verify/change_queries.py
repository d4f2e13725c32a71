"""The plain column reads of changes and events, and of the versions that changes kept."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from typing import Any, NamedTuple

from psycopg import sql

from step_audit.database import Connection
from step_audit.trust.jsonb import is_printable
from step_audit.trust.verify.accounts import ERASED, PURGED
from step_audit.trust.verify.changes import CHANGE_KINDS, EVENT_KINDS
from step_audit.trust.verify.copying import Row, copy_rows
from step_audit.trust.verify.queries import (
    AUDIT_COLUMNS,
    SIZE_AND_HASH,
    TOGETHER,
    UNPRINTABLE_ERRORS,
    columns_of,
    sequential,
)
from step_audit.trust.verify.tables import (
    AUDIT,
    CHANGES,
    DELETED_STEPS,
    EVENTS,
    LEAVES,
    OWN,
    SALTS,
    STEPS,
    TRANSITIONS,
    Place,
)

# Both types of metadata of a change; in place of what cannot be printed, its size and a hash.
_KEPT_METADATA = {
    True: sql.SQL("{0}.metadata, {0}.metadata_json"),
    False: sql.SQL(
        "CASE WHEN {0}.metadata_json IS NULL THEN pg_catalog.json_build_array("
        "pg_catalog.pg_column_size(pg_catalog.jsonb_build_array({0}.metadata)), "
        "pg_catalog.jsonb_hash_extended({0}.metadata, 0::pg_catalog.int8)) "
        "ELSE pg_catalog.json_build_array("
        "pg_catalog.pg_column_size("
        "pg_catalog.jsonb_build_array({0}.metadata_json::pg_catalog.jsonb)), "
        "pg_catalog.jsonb_hash_extended("
        "{0}.metadata_json::pg_catalog.jsonb, 0::pg_catalog.int8)) END, NULL"
    ),
}
_STANDING_METADATA: dict[bool, dict[bool, sql.Composable]] = {
    True: {True: sql.SQL("NULL, t.metadata"), False: sql.SQL("t.metadata, NULL")},
    False: {
        is_json: sql.SQL("{}, NULL").format(SIZE_AND_HASH[is_json]) for is_json in (True, False)
    },
}

_SEALED = sql.SQL(
    "SELECT l.leaf_index, l.kind, l.record_uuid, l.leaf_hash, s.salt, {columns} "
    "FROM {leaves} AS l "
    "LEFT JOIN {salts} AS s ON s.leaf_index OPERATOR(pg_catalog.=) l.leaf_index "
    "LEFT JOIN {table} AS r ON r.{key} OPERATOR(pg_catalog.=) l.record_uuid "
    "WHERE l.kind OPERATOR(pg_catalog.=) ANY ({kinds}::pg_catalog.text[]) AND {where}"
)
_BETWEEN = sql.SQL(
    "l.leaf_index OPERATOR(pg_catalog.>=) {}::pg_catalog.int8 "
    "AND l.leaf_index OPERATOR(pg_catalog.<) {}::pg_catalog.int8"
)
_AMONG = sql.SQL("l.leaf_index OPERATOR(pg_catalog.=) ANY ({}::pg_catalog.int8[])")

_KEPT = sql.SQL(
    "SELECT c.workflow_step_transition_uuid, c.step_audit_change_uuid, c.workflow_step_uuid, "
    "c.from_state, c.to_state, c.sort_key, c.transition_created_at, {metadata} FROM {changes} AS c "
    "WHERE c.workflow_step_transition_uuid OPERATOR(pg_catalog.=) ANY ({keys}::pg_catalog.uuid[])"
)

_STANDING = sql.SQL(
    "SELECT t.workflow_step_transition_uuid, NULL AS change_uuid, t.workflow_step_uuid, "
    "t.from_state, t.to_state, t.sort_key, t.created_at, {metadata} FROM {transitions} AS t "
    "WHERE t.workflow_step_transition_uuid OPERATOR(pg_catalog.=) ANY ({keys}::pg_catalog.uuid[])"
)

# Leaf, salt, audit row, a version of its transition, and the task of its step.
_VERSIONS = sql.SQL(
    "SELECT l.leaf_index, l.kind, l.record_uuid, l.leaf_hash, s.salt, {audit_columns}, "
    "c.workflow_step_uuid AS step_of_version, c.from_state, c.to_state, c.transition_created_at, "
    "{metadata}, p.task_uuid AS task_of_step, d.task_uuid AS task_of_deleted "
    "FROM {audit} AS a "
    "JOIN {changes} AS c ON "
    "c.workflow_step_transition_uuid OPERATOR(pg_catalog.=) a.workflow_step_transition_uuid "
    "AND c.workflow_step_uuid OPERATOR(pg_catalog.=) a.workflow_step_uuid "
    "LEFT JOIN {leaves} AS l ON "
    "l.record_uuid OPERATOR(pg_catalog.=) a.workflow_step_result_audit_uuid "
    "LEFT JOIN {salts} AS s ON s.leaf_index OPERATOR(pg_catalog.=) l.leaf_index "
    "LEFT JOIN {steps} AS p ON p.workflow_step_uuid OPERATOR(pg_catalog.=) a.workflow_step_uuid "
    "LEFT JOIN {deleted} AS d ON d.workflow_step_uuid OPERATOR(pg_catalog.=) a.workflow_step_uuid "
    "WHERE a.workflow_step_result_audit_uuid OPERATOR(pg_catalog.=) "
    "ANY ({keys}::pg_catalog.uuid[])"
)

# The like, with the transition as it stands, of a step that is deleted.
_OF_DELETED_STEPS = sql.SQL(
    "SELECT l.leaf_index, l.kind, l.record_uuid, l.leaf_hash, s.salt, {audit_columns}, "
    "t.workflow_step_uuid AS step_of_version, t.from_state, t.to_state, t.created_at AS created, "
    "{metadata}, NULL AS task_of_step, d.task_uuid AS task_of_deleted "
    "FROM {audit} AS a "
    "JOIN {transitions} AS t ON "
    "t.workflow_step_transition_uuid OPERATOR(pg_catalog.=) a.workflow_step_transition_uuid "
    "AND t.workflow_step_uuid OPERATOR(pg_catalog.=) a.workflow_step_uuid "
    "JOIN {deleted} AS d ON d.workflow_step_uuid OPERATOR(pg_catalog.=) a.workflow_step_uuid "
    "LEFT JOIN {leaves} AS l ON "
    "l.record_uuid OPERATOR(pg_catalog.=) a.workflow_step_result_audit_uuid "
    "LEFT JOIN {salts} AS s ON s.leaf_index OPERATOR(pg_catalog.=) l.leaf_index "
    "WHERE a.workflow_step_result_audit_uuid OPERATOR(pg_catalog.=) "
    "ANY ({keys}::pg_catalog.uuid[]) AND NOT EXISTS ("
    "SELECT FROM {steps} AS p WHERE "
    "p.workflow_step_uuid OPERATOR(pg_catalog.=) a.workflow_step_uuid)"
)

_GONE = sql.SQL(
    "SELECT c.workflow_step_transition_uuid, c.workflow_step_uuid, c.created_at, t.to_state "
    "FROM ("
    "SELECT k.workflow_step_transition_uuid, k.workflow_step_uuid, "
    "pg_catalog.min(k.transition_created_at) AS created_at FROM {changes} AS k "
    "GROUP BY k.workflow_step_transition_uuid, k.workflow_step_uuid"
    ") AS c LEFT JOIN {transitions} AS t ON "
    "t.workflow_step_transition_uuid OPERATOR(pg_catalog.=) c.workflow_step_transition_uuid "
    "AND t.workflow_step_uuid OPERATOR(pg_catalog.=) c.workflow_step_uuid"
)

# Of the transitions that stand and were deleted once, each change.
_AUDITS = sql.SQL(
    "SELECT a.workflow_step_transition_uuid, a.workflow_step_result_audit_uuid, a.backfilled "
    "FROM {audit} AS a WHERE a.workflow_step_transition_uuid OPERATOR(pg_catalog.=) "
    "ANY ({keys}::pg_catalog.uuid[])"
)

_CHANGES_OF_RISEN = sql.SQL(
    "SELECT c.workflow_step_transition_uuid, c.step_audit_change_uuid, c.operation "
    "FROM {changes} AS c JOIN {transitions} AS t ON "
    "t.workflow_step_transition_uuid OPERATOR(pg_catalog.=) c.workflow_step_transition_uuid "
    "WHERE EXISTS (SELECT FROM {changes} AS d WHERE "
    "d.workflow_step_transition_uuid OPERATOR(pg_catalog.=) c.workflow_step_transition_uuid "
    "AND d.operation OPERATOR(pg_catalog.=) ANY ('{{delete,truncate}}'::pg_catalog.text[]))"
)

KEYS = {CHANGES: "step_audit_change_uuid", EVENTS: "step_audit_event_uuid"}
KINDS: dict[str, tuple[str, ...]] = {CHANGES: CHANGE_KINDS, EVENTS: EVENT_KINDS}
"""Of changes and events: their keys, and the kinds of their leaves."""


# Where the key of the audit row stands in a row of versions.
_AUDIT_KEY = 5


class Printed(NamedTuple):
    """A row, and whether its metadata is printed, or has its size and a hash in its place."""

    row: Row
    is_printed: bool = True


def sealed_changes(conn: Connection, place: Place, first: int, until: int) -> Generator[Printed]:
    """The leaves of changes of a range, each with its row; one may come twice."""

    def compose(where: sql.Composable, is_printed: bool) -> sql.Composable:
        columns = [
            sql.Identifier("r", column)
            for column in OWN[CHANGES]
            if column not in ("metadata", "metadata_json")
        ]
        metadata = _KEPT_METADATA[is_printed].format(sql.Identifier("r"))
        return _compose_sealed(place, CHANGES, sql.SQL(", ").join([*columns, metadata]), where)

    def among(keys: list[int], is_printed: bool) -> sql.Composable:
        return compose(_AMONG.format(sql.Literal(keys)), is_printed)

    between = _BETWEEN.format(sql.Literal(first), sql.Literal(until))
    all_of_it = compose(between, True)
    yield from _read_carefully(conn, all_of_it, among, range(first, until), key_at=0, json_at=-1)


def sealed_events(conn: Connection, place: Place, first: int, until: int) -> Generator[Row]:
    """The leaves of events of a range, each with its row."""
    columns = sql.SQL(", ").join(sql.Identifier("r", column) for column in OWN[EVENTS])
    between = _BETWEEN.format(sql.Literal(first), sql.Literal(until))
    return copy_rows(conn, _compose_sealed(place, EVENTS, columns, between))


def _compose_sealed(
    place: Place, name: str, columns: sql.Composable, where: sql.Composable
) -> sql.Composable:
    return _SEALED.format(
        columns=columns,
        leaves=place[LEAVES].source,
        salts=place[SALTS].source,
        table=place[name].source,
        key=sql.Identifier(KEYS[name]),
        kinds=sql.Literal(list(KINDS[name])),
        where=where,
    )


def _read_carefully(
    conn: Connection,
    query: sql.Composable,
    compose: Callable[[list[Any], bool], sql.Composable],
    keys: Sequence[Any],
    key_at: int,
    json_at: int,
) -> Generator[Printed]:
    """The rows of a query; of metadata that jsonb cannot print, behind them its size and a hash.

    Args:
        conn: of the snapshot.
        query: of all of the keys.
        compose: the query of some of the keys, with metadata as it is printed, or size and hash.
        keys: what a row is known by.
        key_at: where the key stands in a row.
        json_at: where metadata of type json stands in a row.
    """
    unprinted: list[Any] = []
    for found in _read_all(conn, query, compose, keys):
        json = found.row[json_at]
        if json is None or is_printable(json.decode()):
            yield found
        else:
            # It prints as json.
            unprinted.append((found.row[key_at] or b"").decode())
    for key in dict.fromkeys(unprinted):
        for row in list(copy_rows(conn, compose([type(keys[0])(key)], False))):
            yield Printed(row, False)


def _read_all(
    conn: Connection,
    query: sql.Composable,
    compose: Callable[[list[Any], bool], sql.Composable],
    keys: Sequence[Any],
) -> Generator[Printed]:
    """The rows of a query; where one cannot be printed, all of them once more, by their keys."""
    try:
        with conn.transaction(), closing(copy_rows(conn, query)) as rows:
            yield from map(Printed, rows)
        return
    except UNPRINTABLE_ERRORS:
        pass
    for start in range(0, len(keys), TOGETHER):
        some = list(keys[start : start + TOGETHER])
        for each in [some, *([key] for key in some)]:
            try:
                with conn.transaction():
                    found = list(copy_rows(conn, compose(each, True)))
            except UNPRINTABLE_ERRORS:
                if each is not some:
                    found = list(copy_rows(conn, compose(each, False)))
                    yield from (Printed(row, False) for row in found)
                continue
            yield from map(Printed, found)
            if each is some:
                break


def versions_of_transitions(conn: Connection, place: Place, keys: list[str]) -> Generator[Printed]:
    """What changes of some transitions kept, and how these stand; one may come twice."""

    def kept(keys: list[str], is_printed: bool) -> sql.Composable:
        return _KEPT.format(
            metadata=_KEPT_METADATA[is_printed].format(sql.Identifier("c")),
            changes=place[CHANGES].source,
            keys=sql.Literal(keys),
        )

    def standing(keys: list[str], is_printed: bool) -> sql.Composable:
        return _STANDING.format(
            metadata=_STANDING_METADATA[is_printed][place.is_json],
            transitions=place[TRANSITIONS].source,
            keys=sql.Literal(keys),
        )

    for compose in (kept, standing):
        yield from _read_carefully(conn, compose(keys, True), compose, keys, key_at=0, json_at=-1)


class RecordVersion(NamedTuple):
    """A record with a version of its transition that a change kept."""

    row: Row
    is_json: bool
    is_printed: bool = True


def versions_of_records(
    conn: Connection, place: Place, keys: list[str]
) -> Generator[RecordVersion]:
    """Audit rows with each version of their transitions that a change kept; may come twice.

    And with the transition as it stands, where the step is deleted.
    """

    def compose(query: sql.SQL, metadata: sql.Composable, keys: list[str]) -> sql.Composable:
        return query.format(
            audit_columns=AUDIT_COLUMNS,
            metadata=metadata,
            audit=place[AUDIT].source,
            changes=place[CHANGES].source,
            transitions=place[TRANSITIONS].source,
            leaves=place[LEAVES].source,
            salts=place[SALTS].source,
            steps=place[STEPS].source,
            deleted=place[DELETED_STEPS].source,
            keys=sql.Literal(keys),
        )

    def kept(keys: list[str], is_printed: bool) -> sql.Composable:
        metadata = _KEPT_METADATA[is_printed].format(sql.Identifier("c"))
        return compose(_VERSIONS, metadata, keys)

    def standing(keys: list[str], is_printed: bool) -> sql.Composable:
        return compose(_OF_DELETED_STEPS, _STANDING_METADATA[is_printed][place.is_json], keys)

    for read in (kept, standing):
        for found in _read_carefully(
            conn, read(keys, True), read, keys, key_at=_AUDIT_KEY, json_at=-3
        ):
            *row, metadata, metadata_json, task_of_step, task_of_deleted = found.row
            row += [metadata_json or metadata, task_of_step or task_of_deleted]
            yield RecordVersion(row, metadata_json is not None, found.is_printed)


def gone_results(conn: Connection, place: Place) -> Generator[Row]:
    """Transition, step and time of each result that was changed, and the state it is in now."""
    query = _GONE.format(changes=place[CHANGES].source, transitions=place[TRANSITIONS].source)
    with conn.transaction(force_rollback=True):
        sequential(conn)
        with closing(copy_rows(conn, query)) as rows:
            yield from rows


def changes_of_risen(conn: Connection, place: Place) -> Generator[Row]:
    """Transition, key and operation of each change of a transition that was deleted and stands."""
    query = _CHANGES_OF_RISEN.format(
        changes=place[CHANGES].source, transitions=place[TRANSITIONS].source
    )
    with conn.transaction(force_rollback=True):
        sequential(conn)
        with closing(copy_rows(conn, query)) as rows:
            yield from rows


def audits_of_transitions(conn: Connection, place: Place, keys: list[str]) -> Generator[Row]:
    """Transition, key and whether backfilled of the audit rows of some transitions."""
    query = _AUDITS.format(audit=place[AUDIT].source, keys=sql.Literal(keys))
    return copy_rows(conn, query)


_OF_LEAVES = sql.SQL(
    "SELECT a.workflow_step_transition_uuid, l.leaf_index FROM {leaves} AS l "
    "JOIN {audit} AS a ON a.workflow_step_result_audit_uuid OPERATOR(pg_catalog.=) l.record_uuid "
    "WHERE {where} UNION ALL "
    "SELECT c.workflow_step_transition_uuid, l.leaf_index FROM {leaves} AS l "
    "JOIN {changes} AS c ON c.step_audit_change_uuid OPERATOR(pg_catalog.=) l.record_uuid "
    "WHERE {where}"
)

# Of more metadata than an erasure leaves, a word.
_LEFT = sql.SQL(
    "SELECT c.workflow_step_transition_uuid, c.step_audit_change_uuid, l.leaf_index, "
    "c.workflow_step_uuid, c.from_state, c.to_state, c.sort_key, "
    "c.transition_created_at::pg_catalog.text, CASE "
    "WHEN c.metadata IS NULL AND c.metadata_json IS NULL THEN NULL "
    "WHEN pg_catalog.pg_column_size(c.metadata) OPERATOR(pg_catalog.<) 32::pg_catalog.int4 "
    "THEN c.metadata::pg_catalog.text "
    "WHEN pg_catalog.pg_column_size(c.metadata_json) OPERATOR(pg_catalog.<) 32::pg_catalog.int4 "
    "THEN c.metadata_json::pg_catalog.text ELSE 'more' END "
    "FROM {changes} AS c LEFT JOIN {leaves} AS l ON "
    "l.record_uuid OPERATOR(pg_catalog.=) c.step_audit_change_uuid WHERE "
    "c.workflow_step_transition_uuid OPERATOR(pg_catalog.=) ANY ({keys}::pg_catalog.uuid[]) "
    "UNION ALL "
    "SELECT t.workflow_step_transition_uuid, NULL, NULL, t.workflow_step_uuid, "
    "t.from_state::pg_catalog.text, t.to_state::pg_catalog.text, t.sort_key::pg_catalog.int8, "
    "t.created_at::pg_catalog.text, CASE "
    "WHEN t.metadata IS NULL THEN NULL "
    "WHEN pg_catalog.pg_column_size(t.metadata) OPERATOR(pg_catalog.<) 32::pg_catalog.int4 "
    "THEN t.metadata::pg_catalog.text ELSE 'more' END "
    "FROM {transitions} AS t WHERE "
    "t.workflow_step_transition_uuid OPERATOR(pg_catalog.=) ANY ({keys}::pg_catalog.uuid[])"
)

_ACCOUNTS = sql.SQL(
    "SELECT e.kind, e.workflow_step_transition_uuid, e.payload, e.recorded_by, e.recorded_at, "
    "e.step_audit_event_uuid, l.leaf_index "
    "FROM {events} AS e LEFT JOIN {leaves} AS l ON "
    "l.record_uuid OPERATOR(pg_catalog.=) e.step_audit_event_uuid "
    "WHERE e.kind OPERATOR(pg_catalog.=) ANY ({kinds}::pg_catalog.text[])"
)


def purges_and_erasures(conn: Connection, place: Place) -> Generator[Row]:
    """The events that account for leaves, as :func:`.accounts.read_accounts` takes them."""
    return copy_rows(
        conn,
        _ACCOUNTS.format(
            events=place[EVENTS].source,
            leaves=place[LEAVES].source,
            kinds=sql.Literal([PURGED, ERASED]),
        ),
    )


def transitions_of(conn: Connection, place: Place, indexes: Iterable[int]) -> Generator[Row]:
    """The transitions of the results and changes of some leaves, each with the leaf."""
    return copy_rows(
        conn,
        _OF_LEAVES.format(
            leaves=place[LEAVES].source,
            audit=place[AUDIT].source,
            changes=place[CHANGES].source,
            where=_AMONG.format(sql.Literal(list(indexes))),
        ),
    )


def left_by_erasures(conn: Connection, place: Place, keys: list[str]) -> Generator[Row]:
    """How some transitions stand, and stood before their changes, as :class:`.erasures.Left`."""
    return copy_rows(
        conn,
        _LEFT.format(
            changes=place[CHANGES].source,
            leaves=place[LEAVES].source,
            transitions=place[TRANSITIONS].source,
            keys=sql.Literal(keys),
        ),
    )


def keys_of_others(conn: Connection, place: Place, name: str) -> Generator[bytes]:
    """The keys of all changes, or of all events, by a sequential scan."""
    with closing(columns_of(conn, place, name, KEYS[name])) as rows:
        for row in rows:
            yield row[0] or b""


def unsealed_others(conn: Connection, place: Place, name: str) -> Generator[Row]:
    """Key and transaction of each change, or event, without a leaf."""
    query = sql.SQL(
        "SELECT r.{key}, r.recorded_xid FROM {table} AS r LEFT JOIN {leaves} AS l ON "
        "l.record_uuid OPERATOR(pg_catalog.=) r.{key} WHERE l.leaf_index IS NULL"
    ).format(
        key=sql.Identifier(KEYS[name]),
        table=place[name].source,
        leaves=place[LEAVES].source,
    )
    return copy_rows(conn, query)
