"""The tables that a verification reads: their columns and types, and where they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from step_audit.database import Connection
from step_audit.errors import DetachedError, NotInstalledError, RefusedError

AUDIT = "tasker_workflow_step_result_audit"
ANOMALIES = f"{AUDIT}_anomalies"
EVENTS, CHANGES, DELETED_STEPS = (
    "step_audit_events",
    "step_audit_changes",
    "step_audit_deleted_steps",
)
LEAVES, SALTS = "step_audit_leaves", "step_audit_salts"
SUBTREES, SEALS = "step_audit_subtrees", "step_audit_seals"
FILES, OBJECTS = "step_audit_files", "step_audit_objects"
TASKS, STEPS = "tasker_tasks", "tasker_workflow_steps"
NAMED_STEPS, TRANSITIONS = "tasker_named_steps", "tasker_workflow_step_transitions"

# OIDs of types, which no owner of a table can give to a type of his own.
_BOOL, _BYTEA, _INT8, _INT2, _INT4, _TEXT, _JSON, _VARCHAR = 16, 17, 20, 21, 23, 25, 114, 1043
_TIMESTAMP, TIMESTAMPTZ, _UUID, _UUIDS, _JSONB, _SNAPSHOT = 1114, 1184, 2950, 2951, 3802, 5038
_BPCHAR, JSON = 1042, _JSON

OWN: dict[str, dict[str, int]] = {
    AUDIT: {
        "workflow_step_result_audit_uuid": _UUID,
        "workflow_step_uuid": _UUID,
        "workflow_step_transition_uuid": _UUID,
        "task_uuid": _UUID,
        "recorded_at": _TIMESTAMP,
        "worker_uuid": _UUID,
        "correlation_id": _UUID,
        "success": _BOOL,
        "backfilled": _BOOL,
        "recorded_by": _TEXT,
        "execution_time_ms": _INT8,
        "created_at": _TIMESTAMP,
        "updated_at": _TIMESTAMP,
        "recorded_xid": _INT8,
    },
    ANOMALIES: {
        "workflow_step_result_audit_uuid": _UUID,
        "field": _TEXT,
        "raw_value": _TEXT,
        "reason": _TEXT,
    },
    EVENTS: {
        "step_audit_event_uuid": _UUID,
        "kind": _TEXT,
        "task_uuid": _UUID,
        "workflow_step_uuid": _UUID,
        "workflow_step_transition_uuid": _UUID,
        "payload": _JSONB,
        "recorded_at": _TIMESTAMP,
        "recorded_by": _TEXT,
        "recorded_xid": _INT8,
    },
    CHANGES: {
        "step_audit_change_uuid": _UUID,
        "operation": _TEXT,
        "workflow_step_transition_uuid": _UUID,
        "workflow_step_uuid": _UUID,
        "from_state": _TEXT,
        "to_state": _TEXT,
        "sort_key": _INT8,
        "transition_created_at": _TIMESTAMP,
        "recorded_at": _TIMESTAMP,
        "recorded_by": _TEXT,
        "recorded_xid": _INT8,
        "metadata": _JSONB,
        "metadata_json": _JSON,
    },
    DELETED_STEPS: {
        "workflow_step_uuid": _UUID,
        "task_uuid": _UUID,
        "step_name": _TEXT,
        "recorded_at": _TIMESTAMP,
        "recorded_by": _TEXT,
        "recorded_xid": _INT8,
    },
    LEAVES: {"leaf_index": _INT8, "kind": _TEXT, "record_uuid": _UUID, "leaf_hash": _BYTEA},
    SALTS: {"leaf_index": _INT8, "salt": _BYTEA},
    SUBTREES: {"height": _INT4, "subtree_index": _INT8, "root_hash": _BYTEA},
    SEALS: {
        "tree_size": _INT8,
        "sealed_at": _TIMESTAMP,
        "covered": _SNAPSHOT,
        "place": _TEXT,
        "waiting": _UUIDS,
    },
    FILES: {"path": _TEXT, "sha256": _TEXT, "release": _TEXT, "applied_at": _TIMESTAMP},
    OBJECTS: {"object_name": _TEXT, "definition": _TEXT, "recorded_at": _TIMESTAMP},
}
"""Our tables: each column and its type."""

OPTIONAL: dict[str, frozenset[str]] = {
    AUDIT: frozenset({"worker_uuid", "correlation_id", "recorded_by", "execution_time_ms"}),
    ANOMALIES: frozenset({"raw_value"}),
    EVENTS: frozenset(
        {"task_uuid", "workflow_step_uuid", "workflow_step_transition_uuid", "payload"}
    ),
    CHANGES: frozenset(
        {
            "workflow_step_transition_uuid",
            "workflow_step_uuid",
            "from_state",
            "sort_key",
            "transition_created_at",
            "metadata",
            "metadata_json",
        }
    ),
    DELETED_STEPS: frozenset({"task_uuid", "step_name"}),
    SEALS: frozenset({"covered", "place", "waiting"}),
}
"""Their columns that may be NULL."""

LEDGER = frozenset({FILES, OBJECTS})
"""Our tables that are no evidence, and so not append-only."""

_STRING = frozenset({_TEXT, _VARCHAR, _BPCHAR})

# None: an enumeration will do too.
HOST: dict[str, dict[str, frozenset[int | None]]] = {
    STEPS: {"workflow_step_uuid": frozenset({_UUID}), "task_uuid": frozenset({_UUID})},
    TRANSITIONS: {
        "workflow_step_transition_uuid": frozenset({_UUID}),
        "workflow_step_uuid": frozenset({_UUID}),
        "from_state": _STRING | {None},
        "to_state": _STRING | {None},
        "sort_key": frozenset({_INT2, _INT4, _INT8}),
        "metadata": frozenset({_JSONB, _JSON}),
        "created_at": frozenset({_TIMESTAMP, TIMESTAMPTZ}),
    },
}
"""The engine's tables that are read, by the names that step-audit gives them."""


@dataclass(frozen=True)
class Table:
    """A table as the catalog has it."""

    name: str
    schema_name: str
    table_name: str
    oid: int
    is_partitioned: bool
    types: dict[str, int] = field(hash=False)
    bytes: int = field(default=0, compare=False)

    @property
    def identifier(self) -> sql.Composable:
        """Its name in SQL."""
        return sql.Identifier(self.schema_name, self.table_name)

    @property
    def source(self) -> sql.Composable:
        """The table in a FROM clause: itself and no child of its, but for its own partitions."""
        return sql.SQL("{}" if self.is_partitioned else "ONLY {}").format(self.identifier)


@dataclass(frozen=True)
class Place:
    """Where step-audit stands, and the tables that a verification reads."""

    schema: str
    tables: dict[str, Table] = field(hash=False)

    def __getitem__(self, name: str) -> Table:
        """A table by the name that step-audit gives it."""
        return self.tables[name]

    @property
    def is_json(self) -> bool:
        """Whether the engine's metadata is of type json."""
        return self[TRANSITIONS].types["metadata"] == JSON

    @property
    def has_zone(self) -> bool:
        """Whether the engine's times are printed with a zone."""
        return self[TRANSITIONS].types["created_at"] == TIMESTAMPTZ

    @property
    def host_schema(self) -> str:
        """The engine's schema."""
        return self[TRANSITIONS].schema_name


_FIND = """
SELECT
    c.relname AS name,
    b.oid,
    n.nspname AS schema_name,
    b.relname AS table_name,
    b.relkind = 'p' AS is_partitioned,
    (
        SELECT pg_catalog.jsonb_object_agg(a.attname, a.atttypid::pg_catalog.int8)
        FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = b.oid AND a.attnum > 0 AND NOT a.attisdropped
    ) AS types,
    CASE b.relkind
        WHEN 'p' THEN (
            SELECT coalesce(pg_catalog.sum(pg_catalog.pg_table_size(p.relid)), 0)::pg_catalog.int8
            FROM pg_catalog.pg_partition_tree(b.oid) AS p
        )
        ELSE pg_catalog.pg_table_size(b.oid)
    END AS bytes
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS s ON c.relnamespace = s.oid
LEFT JOIN LATERAL (
    SELECT DISTINCT d.refobjid AS oid
    FROM pg_catalog.pg_rewrite AS r
    JOIN pg_catalog.pg_depend AS d ON d.objid = r.oid
    WHERE
        c.relkind = 'v'
        AND r.ev_class = c.oid
        AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
        AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
        AND d.refobjid <> c.oid
) AS shown ON TRUE
JOIN pg_catalog.pg_class AS b ON b.oid = CASE c.relkind WHEN 'v' THEN shown.oid ELSE c.oid END
JOIN pg_catalog.pg_namespace AS n ON b.relnamespace = n.oid
WHERE s.nspname = %s AND c.relname = ANY(%s) AND c.relkind IN ('r', 'p', 'v')
ORDER BY c.relname
"""


def find_tables(conn: Connection, schema: str) -> Place:
    """Find the tables of step-audit in ``schema``, and the engine's that it is attached to.

    Raises:
        NotInstalledError: step-audit is not there.
        DetachedError: it is not attached to an engine.
        RefusedError: a name stands for no table, or for several.
    """
    rows = conn.execute(_FIND, (schema, [*OWN, *HOST])).fetchall()
    tables = {row["name"]: Table(**row) for row in rows}
    if FILES not in tables:
        raise NotInstalledError(schema)
    if any(name not in tables for name in HOST):
        raise DetachedError(schema)
    for name in tables:
        if sum(row["name"] == name for row in rows) > 1:
            raise RefusedError(
                f"{schema}.{name} shows several tables, so none of them can be what the engine "
                "writes; nothing was verified. Make it anew: 'step-audit attach'."
            )
    for name, table in tables.items():
        if name in OWN and table.table_name != name:
            raise RefusedError(
                f"{schema}.{name} is no table; nothing was verified. Find out who replaced it, "
                "and restore the table from a backup."
            )
    lacking = [name for name in OWN if name not in tables]
    if lacking:
        raise RefusedError(
            f"schema {schema} lacks {', '.join(lacking)}; nothing was verified. Find out who "
            "removed it, and restore it from a backup."
        )
    return Place(schema, tables)


def check_columns(place: Place) -> None:
    """Refuse where a column that is read is not there: a later look would fail less plainly.

    Raises:
        RefusedError: one is not there.
    """
    needed: dict[str, Any] = {**OWN, **HOST}
    for name, columns in needed.items():
        table = place[name]
        for column in columns:
            if column not in table.types:
                raise RefusedError(
                    f"{table.schema_name}.{table.table_name} has no column {column}; nothing was "
                    "verified. Find out who removed it, and restore it from a backup."
                )
