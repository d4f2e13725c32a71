"""Columns are of the types that are expected, and have the defaults of this release."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from step_audit.database import Connection
from step_audit.setup.sources import Sources
from step_audit.trust.verify.report import Finding
from step_audit.trust.verify.tables import (
    AUDIT,
    CHANGES,
    DELETED_STEPS,
    EVENTS,
    HOST,
    OBJECTS,
    OPTIONAL,
    OWN,
    Place,
)

_NOW = "(now() AT TIME ZONE 'UTC'::text)"
_TRANSACTION = "((pg_current_xact_id())::text)::bigint"
_BY_WHOM_AND_WHEN = {
    "recorded_at": _NOW,
    "recorded_by": "SESSION_USER",
    "recorded_xid": _TRANSACTION,
}
# The last before 18, where the three print it alike.
_KEYS = (
    "uuidv7()",
    "gen_random_uuid()",
    '(("left"("overlay"(encode(int8send(((EXTRACT(epoch FROM clock_timestamp()) * '
    "(65536000)::numeric))::bigint), 'hex'::text), '7'::text, 13, 0), 16) || "
    '"right"((gen_random_uuid())::text, 17)))::uuid',
)

_DEFAULTS: dict[str, dict[str, str]] = {
    AUDIT: {
        "recorded_at": _NOW,
        "created_at": _NOW,
        "updated_at": _NOW,
        "recorded_by": "SESSION_USER",
        "recorded_xid": "txid_current()",
        "backfilled": "false",
    },
    EVENTS: _BY_WHOM_AND_WHEN,
    CHANGES: _BY_WHOM_AND_WHEN,
    DELETED_STEPS: _BY_WHOM_AND_WHEN,
    "step_audit_seals": {"sealed_at": _NOW},
    "step_audit_files": {"applied_at": _NOW},
    OBJECTS: {"recorded_at": _NOW},
}
_KEY_COLUMNS = {
    AUDIT: "workflow_step_result_audit_uuid",
    EVENTS: "step_audit_event_uuid",
    CHANGES: "step_audit_change_uuid",
}


_COLUMNS = """
SELECT
    a.attrelid AS oid,
    a.attname AS name,
    a.atttypid::pg_catalog.int8 AS type_oid,
    t.typtype::pg_catalog.text AS type_kind,
    pg_catalog.format_type(a.atttypid, a.atttypmod) AS type_name,
    a.atttypmod AS type_modifier,
    a.attgenerated::pg_catalog.text AS generated,
    a.attidentity::pg_catalog.text AS identity,
    a.attnotnull AS is_needed,
    coalesce(c.collisdeterministic, TRUE) AS is_deterministic,
    pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS default_text
FROM pg_catalog.pg_attribute AS a
JOIN pg_catalog.pg_type AS t ON a.atttypid = t.oid
LEFT JOIN pg_catalog.pg_collation AS c ON a.attcollation = c.oid
LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = ANY(%s) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""


def examine_columns(
    conn: Connection, place: Place, sources: Sources
) -> Iterator[Finding | str | int]:
    """Columns are of the built-in types that are expected, plain, and have the defaults of ours."""
    names = {table.oid: name for name, table in place.tables.items()}
    for row in conn.execute(_COLUMNS, (list(names),)):
        table, column = names[row["oid"]], row["name"]
        field = f"column {table}.{column}"
        if table in OWN:
            yield 1
            yield from _examine_own_column(table, row, field)
        elif column in HOST[table]:
            yield 1
            wanted = HOST[table][column]
            is_enum = None in wanted and row["type_kind"] == "e"
            if row["type_oid"] not in wanted and not is_enum:
                yield Finding("altered object", field=field, stored=f"of type {row['type_name']}")
            if row["generated"] == "v":
                yield Finding("altered object", field=field, stored="generated when it is read")


def _examine_own_column(table: str, row: dict[str, Any], field: str) -> Iterator[Finding]:
    column, default = row["name"], row["default_text"]
    if column not in OWN[table]:
        yield Finding("foreign object", field=field)
        return
    # None of ours has a modifier: it rounds a time, or cuts a text.
    if row["type_oid"] != OWN[table][column] or row["type_modifier"] != -1:
        yield Finding("altered object", field=field, stored=f"of type {row['type_name']}")
    if row["identity"]:
        yield Finding("altered object", field=field, stored="an identity column")
    if row["generated"]:
        yield Finding("altered object", field=field, stored="generated")
        return
    if not row["is_needed"] and column not in OPTIONAL.get(table, ()):
        yield Finding("altered object", field=field, stored="nullable")
    if not row["is_deterministic"]:
        yield Finding("altered object", field=field, stored="of a collation in which texts vary")
    if _KEY_COLUMNS.get(table) == column:
        fits = default in _KEYS
        expected: str | None = "a UUIDv7"
    else:
        expected = _DEFAULTS.get(table, {}).get(column)
        fits = default == expected
    if not fits:
        yield Finding(
            "altered object", field=f"default {table}.{column}", stored=default, expected=expected
        )
