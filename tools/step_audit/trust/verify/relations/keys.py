"""Our unique keys are kept, and those to the engine are what the attach chose."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from step_audit.database import Connection
from step_audit.setup.sources import Sources
from step_audit.trust.verify.relations.ledger import read_ledger
from step_audit.trust.verify.report import Finding
from step_audit.trust.verify.tables import (
    AUDIT,
    CHANGES,
    EVENTS,
    OBJECTS,
    OWN,
    STEPS,
    TRANSITIONS,
    Place,
)

# Name, table, columns: the keys that are unique.
_UNIQUE = {
    "pk_audit": (AUDIT, ("workflow_step_result_audit_uuid",)),
    "uq_audit_step_transition": (AUDIT, ("workflow_step_transition_uuid", "workflow_step_uuid")),
    "pk_audit_anomaly": (f"{AUDIT}_anomalies", ("workflow_step_result_audit_uuid", "field")),
    "pk_step_audit_event": (EVENTS, ("step_audit_event_uuid",)),
    "pk_step_audit_change": (CHANGES, ("step_audit_change_uuid",)),
    "pk_step_audit_leaf": ("step_audit_leaves", ("leaf_index",)),
    "uq_step_audit_leaf_record": ("step_audit_leaves", ("record_uuid",)),
    "pk_step_audit_salt": ("step_audit_salts", ("leaf_index",)),
    "pk_step_audit_subtree": ("step_audit_subtrees", ("height", "subtree_index")),
    "pk_step_audit_seal": ("step_audit_seals", ("tree_size",)),
    "pk_step_audit_file": ("step_audit_files", ("path",)),
    "pk_step_audit_object": (OBJECTS, ("object_name",)),
}
# The keys to the engine's tables, which may be enforced, declared only, or absent.
_FOREIGN = {
    "fk_audit_task": "task_uuid",
    "fk_audit_step": "workflow_step_uuid",
    "fk_audit_transition": "workflow_step_transition_uuid",
}

_OF_THE_ENGINE = {
    TRANSITIONS: (
        "workflow_step_transition_uuid",
        "a second transition under the uuid of a result; one that is there is found as doubled",
    ),
    STEPS: (
        "workflow_step_uuid",
        "a second step under the uuid of one that has results, and of another task",
    ),
}


_CONSTRAINTS = """
SELECT
    c.conrelid AS oid,
    c.conname AS name,
    c.contype::pg_catalog.text AS type,
    c.convalidated AS is_validated,
    c.condeferrable AS is_deferrable,
    c.confrelid AS target,
    pg_catalog.pg_get_constraintdef(c.oid) AS definition,
    (
        SELECT pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY k.place)
        FROM pg_catalog.unnest(c.conkey) WITH ORDINALITY AS k (attnum, place)
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = k.attnum
    ) AS columns,
    coalesce(
        i.indisunique AND i.indisvalid AND i.indisready AND i.indislive AND i.indimmediate
        AND i.indpred IS NULL AND i.indexprs IS NULL,
        FALSE
    ) AS is_kept
FROM pg_catalog.pg_constraint AS c
LEFT JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.conindid
WHERE c.conrelid = ANY(%s) AND c.contype <> 'n' AND c.conparentid = 0::pg_catalog.oid
"""

# A key of a partitioned table has the columns of the partitions too.
_IS_KEPT_BY_ENGINE = """
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_index AS x
    WHERE
        x.indrelid = %(oid)s
        AND x.indisunique AND x.indisvalid AND x.indisready AND x.indislive
        AND x.indpred IS NULL
        AND x.indexprs IS NULL
        AND (
            SELECT
                pg_catalog.bool_or(a.attname = %(key)s)
                AND (
                    %(is_partitioned)s
                    OR pg_catalog.bool_and(a.attname IN (%(key)s, 'workflow_step_uuid'))
                )
            FROM
                pg_catalog.unnest(x.indkey::pg_catalog.int2[])
                WITH ORDINALITY AS k (attnum, place)
            JOIN pg_catalog.pg_attribute AS a
                ON a.attrelid = x.indrelid AND a.attnum = k.attnum
            WHERE k.place <= x.indnkeyatts
        )
) AS is_kept
"""


def examine_keys(conn: Connection, place: Place, sources: Sources) -> Iterator[Finding | str | int]:
    """Our unique keys are there and kept; the keys to the engine are those of the attach."""
    own = {place[name].oid: name for name in OWN}
    rows = conn.execute(_CONSTRAINTS, (list(own),)).fetchall()
    found = {(own[row["oid"]], row["name"]): row for row in rows}
    for name, (table, columns) in _UNIQUE.items():
        yield 1
        field = f"constraint {table}.{name}"
        row = found.pop((table, name), None)
        if row is None:
            yield Finding("missing object", field=field)
        elif not row["is_kept"] or tuple(row["columns"]) != columns or row["is_deferrable"]:
            yield Finding("altered object", field=field, stored=row["definition"])
    yield from _examine_foreign_keys(conn, place, found)
    for (table, name), row in found.items():
        field = f"constraint {table}.{name}"
        yield Finding("foreign object", field=field, stored=row["definition"])
    for name, (key, meaning) in _OF_THE_ENGINE.items():
        engine = place[name]
        arguments = {"oid": engine.oid, "is_partitioned": engine.is_partitioned, "key": key}
        (engines,) = conn.execute(_IS_KEPT_BY_ENGINE, arguments).fetchall()
        if not engines["is_kept"]:
            yield (
                f"the engine has no unique key on {key} of "
                f"{engine.schema_name}.{engine.table_name}, so nothing refuses {meaning}"
            )


def _examine_foreign_keys(
    conn: Connection, place: Place, found: dict[tuple[str, str], dict[str, Any]]
) -> Iterator[Finding | str | int]:
    recorded = read_ledger(conn, place)
    for name, column in _FOREIGN.items():
        field = f"constraint {AUDIT}.{name}"
        row, chosen = found.pop((AUDIT, name), None), recorded.get(field)
        yield 1
        if row is None:
            if chosen is not None:
                yield Finding("missing object", field=field, expected=chosen)
            continue
        is_enforced = "NOT ENFORCED" not in row["definition"]
        fits = (
            row["type"] == "f"
            and row["columns"] == [column]
            and chosen is not None
            and is_enforced is ("NOT ENFORCED" not in chosen)
        )
        if not fits:
            kind = "altered object" if chosen else "foreign object"
            yield Finding(kind, field=field, stored=row["definition"], expected=chosen)
