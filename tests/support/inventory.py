"""All that the catalog says of a schema's objects, so that two installs can be compared."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row, tuple_row

from tests.support.host import HOST, Host

Inventory = dict[str, dict[str, Any]]


def take_inventory(conn: psycopg.Connection[Any], host: Host = HOST) -> Inventory:
    """Facts by object of step-audit and its host, and the applied files.

    The schema's own name is left out, so that installs into different schemas compare. What lies in
    a schema of the engine's own is named so.
    """
    inventory = _of_schema(conn, host.audit_schema)
    if host.schema != host.audit_schema:
        engines = _of_schema(conn, host.schema)
        inventory |= {f"engine's {name}": facts for name, facts in engines.items()}
    return inventory


def list_audit_objects(conn: psycopg.Connection[Any]) -> set[str]:
    """Names of what step-audit has in the database.

    The engine's own audit has no comments; all of ours has.
    """
    return {
        name
        for name, facts in take_inventory(conn).items()
        if "audit" in name and not (name.startswith("engine's ") and facts["comment"] is None)
    }


def _of_schema(conn: psycopg.Connection[Any], schema: str) -> Inventory:
    with conn.transaction(), conn.cursor(row_factory=dict_row) as cursor:
        cursor.execute(sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(schema)))
        cursor.execute(_OBJECTS, {"schema": schema})
        inventory: Inventory = {row["object"]: row["facts"] for row in cursor}
        if "table step_audit_files" in inventory:
            cursor.execute(_FILES)
            inventory |= {row["object"]: row["facts"] for row in cursor}
    return inventory


def take_row_versions(conn: psycopg.Connection[Any]) -> set[Any]:
    """Identity and version of each catalog row of step-audit and host, and each applied file.

    Equal before and after if nothing was written, not even the same again.
    """
    with conn.cursor(row_factory=tuple_row) as cursor:
        return set(cursor.execute(_ROW_VERSIONS, {"schemas": [HOST.audit_schema, HOST.schema]}))


# With the schema as search_path the server prints names without it, but for index definitions.
_OBJECTS = """
WITH target AS (
    SELECT oid, oid::regnamespace::text AS name FROM pg_namespace WHERE nspname = %(schema)s
),

relations AS (
    SELECT c.* FROM pg_class AS c JOIN target AS n ON c.relnamespace = n.oid
    WHERE c.relkind NOT IN ('i', 'I')
)

SELECT
    format('function %%s(%%s)', p.proname, pg_get_function_identity_arguments(p.oid)) AS object,
    jsonb_build_object(
        'arguments', pg_get_function_arguments(p.oid),
        'result', pg_get_function_result(p.oid),
        'kind', p.prokind,
        'language', l.lanname,
        'volatility', p.provolatile,
        'parallel', p.proparallel,
        'strict', p.proisstrict,
        'security definer', p.prosecdef,
        'cost', p.procost,
        'rows', p.prorows,
        'settings', (
            SELECT array_agg(replace(s, 'search_path=' || n.name || ',', 'search_path=,'))
            FROM unnest(p.proconfig) AS s
        ),
        'owner', p.proowner::regrole,
        'grants', (SELECT array_agg(g::text ORDER BY g::text) FROM unnest(p.proacl) AS g),
        'comment', obj_description(p.oid, 'pg_proc'),
        'source', coalesce(pg_get_function_sqlbody(p.oid), p.prosrc)
    ) AS facts
FROM pg_proc AS p
JOIN target AS n ON p.pronamespace = n.oid
JOIN pg_language AS l ON p.prolang = l.oid

UNION ALL
SELECT
    format('table %%s', c.relname),
    jsonb_build_object(
        'kind', c.relkind,
        'persistence', c.relpersistence,
        'options', c.reloptions,
        'row security', c.relrowsecurity,
        'owner', c.relowner::regrole,
        'grants', (SELECT array_agg(g::text ORDER BY g::text) FROM unnest(c.relacl) AS g),
        'comment', obj_description(c.oid, 'pg_class')
    )
FROM relations AS c

UNION ALL
SELECT
    format('column %%s.%%s', c.relname, a.attname),
    jsonb_build_object(
        'place', rank() OVER (PARTITION BY c.oid ORDER BY a.attnum),
        'type', format_type(a.atttypid, a.atttypmod),
        'not null', a.attnotnull,
        'default', pg_get_expr(d.adbin, d.adrelid),
        'grants', (SELECT array_agg(g::text ORDER BY g::text) FROM unnest(a.attacl) AS g),
        'comment', col_description(c.oid, a.attnum)
    )
FROM relations AS c
JOIN pg_attribute AS a ON c.oid = a.attrelid
LEFT JOIN pg_attrdef AS d ON a.attrelid = d.adrelid AND a.attnum = d.adnum
WHERE a.attnum > 0 AND NOT a.attisdropped

UNION ALL
SELECT
    format('index %%s', i.relname),
    jsonb_build_object(
        'definition', replace(pg_get_indexdef(i.oid), n.name || '.', ''),
        'valid', x.indisvalid,
        'comment', obj_description(i.oid, 'pg_class')
    )
FROM pg_index AS x
JOIN pg_class AS i ON x.indexrelid = i.oid
JOIN target AS n ON i.relnamespace = n.oid

UNION ALL
SELECT
    format('constraint %%s of %%s', k.conname, c.relname),
    jsonb_build_object(
        'definition', pg_get_constraintdef(k.oid),
        'validated', k.convalidated,
        'comment', obj_description(k.oid, 'pg_constraint')
    )
FROM relations AS c
JOIN pg_constraint AS k ON c.oid = k.conrelid

UNION ALL
SELECT
    format('trigger %%s of %%s', t.tgname, c.relname),
    jsonb_build_object(
        'definition', pg_get_triggerdef(t.oid, TRUE),
        'enabled', t.tgenabled,
        'comment', obj_description(t.oid, 'pg_trigger')
    )
FROM relations AS c
JOIN pg_trigger AS t ON c.oid = t.tgrelid
WHERE NOT t.tgisinternal
"""

_FILES = """
SELECT 'file ' || path AS object, jsonb_build_object('sha256', sha256, 'release', release) AS facts
FROM step_audit_files
"""

_ROW_VERSIONS = """
WITH target AS (
    SELECT oid FROM pg_namespace WHERE nspname = ANY(%(schemas)s)
)

SELECT 'pg_proc' AS place, oid::text AS identity, xmin::text AS version FROM pg_proc
WHERE pronamespace IN (TABLE target)
UNION ALL
SELECT 'pg_class', oid::text, xmin::text FROM pg_class
WHERE relnamespace IN (TABLE target)
UNION ALL
SELECT 'pg_attribute', a.attrelid || ' ' || a.attnum, a.xmin::text
FROM pg_attribute AS a JOIN pg_class AS c ON a.attrelid = c.oid
WHERE c.relnamespace IN (TABLE target)
UNION ALL
SELECT 'pg_constraint', oid::text, xmin::text FROM pg_constraint
WHERE connamespace IN (TABLE target)
UNION ALL
SELECT 'pg_trigger', t.oid::text, t.xmin::text
FROM pg_trigger AS t JOIN pg_class AS c ON t.tgrelid = c.oid
WHERE c.relnamespace IN (TABLE target)
UNION ALL
SELECT 'step_audit_files', path, xmin::text || ' ' || applied_at FROM step_audit_files
"""
