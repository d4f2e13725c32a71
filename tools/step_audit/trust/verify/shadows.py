"""What could stand in the way of a function, an operator or a cast that is meant."""

from __future__ import annotations

from collections.abc import Iterator

from step_audit.database import Connection
from step_audit.setup.sources import Sources
from step_audit.trust.verify.report import Finding
from step_audit.trust.verify.tables import Place

# An OID from here on is no object of the server's own; an extension's are its own matter.
_SHADOWS = """
WITH strangers AS (
    SELECT
        'function' AS kind,
        p.oid,
        'pg_catalog.pg_proc'::pg_catalog.regclass AS catalog,
        p.pronamespace AS namespace,
        pg_catalog.format(
            '%%s(%%s)', p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid)
        ) AS name,
        EXISTS (
            SELECT FROM pg_catalog.pg_proc AS b
            WHERE b.proname = p.proname AND b.pronamespace = 'pg_catalog'::pg_catalog.regnamespace
        ) AS shadows
    FROM pg_catalog.pg_proc AS p
    UNION ALL
    SELECT
        'operator',
        o.oid,
        'pg_catalog.pg_operator'::pg_catalog.regclass,
        o.oprnamespace,
        pg_catalog.format(
            '%%s(%%s, %%s)',
            o.oprname,
            pg_catalog.format_type(o.oprleft, NULL),
            pg_catalog.format_type(o.oprright, NULL)
        ),
        o.oprleft < 16384::pg_catalog.oid AND o.oprright < 16384::pg_catalog.oid
    FROM pg_catalog.pg_operator AS o
    UNION ALL
    SELECT
        'type',
        t.oid,
        'pg_catalog.pg_type'::pg_catalog.regclass,
        t.typnamespace,
        t.typname::pg_catalog.text,
        EXISTS (
            SELECT FROM pg_catalog.pg_type AS b
            WHERE b.typname = t.typname AND b.typnamespace = 'pg_catalog'::pg_catalog.regnamespace
        )
    FROM pg_catalog.pg_type AS t
)

SELECT
    s.kind,
    pg_catalog.format('%%I.%%s', n.nspname, s.name) AS name
FROM strangers AS s
JOIN pg_catalog.pg_namespace AS n ON s.namespace = n.oid
WHERE
    s.oid >= 16384::pg_catalog.oid
    AND (n.nspname = 'pg_catalog' OR (n.nspname = %s AND s.shadows))
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_depend AS d
        WHERE d.classid = s.catalog AND d.objid = s.oid AND d.deptype = 'e'
    )
UNION ALL
SELECT
    'cast',
    pg_catalog.format(
        '(%%s AS %%s)',
        pg_catalog.format_type(c.castsource, NULL),
        pg_catalog.format_type(c.casttarget, NULL)
    )
FROM pg_catalog.pg_cast AS c
WHERE
    c.oid >= 16384::pg_catalog.oid
    AND c.castsource < 16384::pg_catalog.oid
    AND c.casttarget < 16384::pg_catalog.oid
    AND c.castmethod = 'f'
ORDER BY 1, 2
"""

# From 17 on. Others, of DDL, have no part in what is read.
_LOGIN_TRIGGERS = """
SELECT e.evtname AS name, e.evtfoid::pg_catalog.regprocedure::pg_catalog.text AS function
FROM pg_catalog.pg_event_trigger AS e
WHERE e.evtevent = 'login' AND e.evtenabled <> 'D'
ORDER BY 1
"""


def examine_shadows(
    conn: Connection, place: Place, sources: Sources
) -> Iterator[Finding | str | int]:
    """Nothing in our schema has the name of something of the server's; nothing was put into it."""
    for row in conn.execute(_SHADOWS, (place.schema,)):
        yield Finding("foreign object", field=f"{row['kind']} {row['name']}")
    for row in conn.execute(_LOGIN_TRIGGERS):
        yield (
            f"event trigger {row['name']} calls {row['function']} at each login; what it sets is "
            "set back before anything is read"
        )
