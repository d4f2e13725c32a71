"""The plain column reads of changes and events, and of the versions that changes kept."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

from psycopg import sql

from step_audit.database import Connection
from step_audit.trust.verify.changes import CHANGE_KINDS, EVENT_KINDS
from step_audit.trust.verify.copying import Row, copy_rows
from step_audit.trust.verify.queries import AUDIT_COLUMNS, columns_of, sequential
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

_SEALED = sql.SQL(
    "SELECT l.leaf_index, l.kind, l.record_uuid, l.leaf_hash, s.salt, {columns} "
    "FROM {leaves} AS l "
    "LEFT JOIN {salts} AS s ON s.leaf_index OPERATOR(pg_catalog.=) l.leaf_index "
    "LEFT JOIN {table} AS r ON r.{key} OPERATOR(pg_catalog.=) l.record_uuid "
    "WHERE l.kind OPERATOR(pg_catalog.=) ANY ({kinds}::pg_catalog.text[]) "
    "AND l.leaf_index OPERATOR(pg_catalog.>=) {first}::pg_catalog.int8 "
    "AND l.leaf_index OPERATOR(pg_catalog.<) {until}::pg_catalog.int8"
)

_KEPT = sql.SQL(
    "SELECT c.workflow_step_transition_uuid, c.workflow_step_uuid, c.from_state, c.to_state, "
    "c.sort_key, c.transition_created_at, c.metadata, c.metadata_json FROM {changes} AS c "
    "WHERE c.workflow_step_transition_uuid OPERATOR(pg_catalog.=) ANY ({keys}::pg_catalog.uuid[])"
)

_STANDING = sql.SQL(
    "SELECT t.workflow_step_transition_uuid, t.workflow_step_uuid, t.from_state, t.to_state, "
    "t.sort_key, t.created_at, {metadata} FROM {transitions} AS t "
    "WHERE t.workflow_step_transition_uuid OPERATOR(pg_catalog.=) ANY ({keys}::pg_catalog.uuid[])"
)

# Leaf, salt, audit row, a version of its transition, and the task of its step.
_VERSIONS = sql.SQL(
    "SELECT l.leaf_index, l.kind, l.record_uuid, l.leaf_hash, s.salt, {audit_columns}, "
    "c.workflow_step_uuid AS step_of_version, c.from_state, c.to_state, c.transition_created_at, "
    "c.metadata, p.task_uuid AS task_of_step, c.metadata_json, d.task_uuid AS task_of_deleted "
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

KEYS = {CHANGES: "step_audit_change_uuid", EVENTS: "step_audit_event_uuid"}
KINDS = {CHANGES: CHANGE_KINDS, EVENTS: EVENT_KINDS}
"""Of changes and events: their keys, and the kinds of their leaves."""


def sealed_others(
    conn: Connection, place: Place, name: str, first: int, until: int
) -> Generator[Row]:
    """The leaves of changes, or of events, of a range, each with its row."""
    query = _SEALED.format(
        columns=sql.SQL(", ").join(sql.Identifier("r", column) for column in OWN[name]),
        leaves=place[LEAVES].source,
        salts=place[SALTS].source,
        table=place[name].source,
        key=sql.Identifier(KEYS[name]),
        kinds=sql.Literal(list(KINDS[name])),
        first=sql.Literal(first),
        until=sql.Literal(until),
    )
    return copy_rows(conn, query)


def versions_of_transitions(conn: Connection, place: Place, keys: list[str]) -> Generator[Row]:
    """What changes of some transitions kept, and how these stand."""
    listed = sql.Literal(keys)
    yield from copy_rows(conn, _KEPT.format(changes=place[CHANGES].source, keys=listed))
    is_json = place.is_json
    metadata = "NULL AS metadata, t.metadata" if is_json else "t.metadata, NULL AS metadata_json"
    query = _STANDING.format(
        metadata=sql.SQL(metadata), transitions=place[TRANSITIONS].source, keys=listed
    )
    yield from copy_rows(conn, query)


def versions_of_records(
    conn: Connection, place: Place, keys: list[str]
) -> Generator[tuple[Row, bool]]:
    """Audit rows with each version of their transitions that a change kept; whether it is json."""
    query = _VERSIONS.format(
        audit_columns=AUDIT_COLUMNS,
        audit=place[AUDIT].source,
        changes=place[CHANGES].source,
        leaves=place[LEAVES].source,
        salts=place[SALTS].source,
        steps=place[STEPS].source,
        deleted=place[DELETED_STEPS].source,
        keys=sql.Literal(keys),
    )
    with closing(copy_rows(conn, query)) as rows:
        for *row, metadata_json, task_of_deleted in rows:
            if metadata_json is not None:
                row[-2] = metadata_json
            if row[-1] is None:
                row[-1] = task_of_deleted
            yield row, metadata_json is not None


def gone_results(conn: Connection, place: Place) -> Generator[Row]:
    """Transition, step and time of each result that was changed, and the state it is in now."""
    query = _GONE.format(changes=place[CHANGES].source, transitions=place[TRANSITIONS].source)
    with conn.transaction(force_rollback=True):
        sequential(conn)
        with closing(copy_rows(conn, query)) as rows:
            yield from rows


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
