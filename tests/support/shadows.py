"""A schema in which what the server has stands again, and says so when it is called."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

CALLED = "a shadow was called"
OPTIONS = "-c search_path=pg_catalog -c synchronous_commit=off"

# Operators of each two of these types, so that one of them fits better than the server's own does.
_TYPES = (
    'name text varchar oid "char" regclass regnamespace regprocedure int2 int4 int8 bool uuid '
    'pg_lsn timestamp timestamptz interval name[] text[] oid[] "char"[]'
)
_OPERATORS = {"bool": "= <> < > <= >= ~ !~", "text": "|| + - * / %"}

_PREPARE = """
CREATE SCHEMA evil;
GRANT USAGE ON SCHEMA evil TO PUBLIC;
CREATE FUNCTION evil.says(what text) RETURNS boolean LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION '{called}: %', what; END $$;
CREATE PROCEDURE evil.make(head text, what text) LANGUAGE plpgsql AS $$ BEGIN
    EXECUTE format(
        '%s LANGUAGE plpgsql AS %L', head, format('BEGIN PERFORM evil.says(%L); END', what)
    );
END $$;
"""

_FUNCTIONS = """
DO $$
DECLARE
    v_row record;
BEGIN
    FOR v_row IN
        SELECT
            p.oid::regprocedure::text AS name,
            format(
                'CREATE FUNCTION evil.%I(%s) RETURNS %s %s',
                p.proname,
                string_agg(format_type(t.oid, NULL), ', ' ORDER BY a.place),
                CASE WHEN p.proretset THEN 'SETOF' END,
                format_type(p.prorettype, NULL)
            ) AS head
        FROM pg_proc AS p
        LEFT JOIN LATERAL unnest(p.proargtypes::oid[]) WITH ORDINALITY AS a (oid, place) ON TRUE
        LEFT JOIN pg_type AS t ON t.oid = a.oid
        JOIN pg_type AS r ON r.oid = p.prorettype
        WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.oid < 16384
        GROUP BY p.oid, r.typtype
        HAVING
            bool_and(t.typtype IS DISTINCT FROM 'p')
            AND (r.typtype <> 'p' OR p.prorettype IN ('record'::regtype, 'void'::regtype))
    LOOP
        CALL evil.make(v_row.head, v_row.name);
    END LOOP;
END $$
"""

_OPERATORS_OF = """
DO $$
DECLARE
    v_row record;
BEGIN
    FOR v_row IN
        SELECT o.name, l.name AS a, r.name AS b, o.place = 1 AS is_first
        FROM string_to_table({operators}, ' ') WITH ORDINALITY AS o (name, place)
        CROSS JOIN string_to_table({types}, ' ') AS l (name)
        CROSS JOIN string_to_table({types}, ' ') AS r (name)
        ORDER BY o.place
    LOOP
        IF v_row.is_first THEN
            CALL evil.make(
                format(
                    'CREATE FUNCTION evil.gives_%s(%s, %s) RETURNS %1$s',
                    {result}, v_row.a, v_row.b
                ),
                format('an operator of %s and %s', v_row.a, v_row.b)
            );
        END IF;
        EXECUTE format(
            'CREATE OPERATOR evil.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = evil.gives_%s)',
            v_row.name, v_row.a, v_row.b, {result}
        );
        COMMIT;
    END LOOP;
END $$
"""

_DOMAINS = """
DO $$
DECLARE
    v_row record;
BEGIN
    FOR v_row IN
        SELECT t.typname, format_type(t.oid, NULL) AS base FROM pg_type AS t
        WHERE
            t.typnamespace = 'pg_catalog'::regnamespace AND t.oid < 16384
            AND t.typtype = 'b' AND t.typelem = 0
    LOOP
        EXECUTE format(
            'CREATE DOMAIN evil.%I AS %s CHECK (evil.says(%L))',
            v_row.typname, v_row.base, 'type ' || v_row.base
        );
    END LOOP;
END $$
"""


def create_shadows(conn: psycopg.Connection[Any]) -> None:
    """Make the schema ``evil``, in which functions, operators and types are that fail.

    Args:
        conn: in autocommit, with :data:`OPTIONS`.
    """
    conn.execute(_PREPARE.replace("{called}", CALLED).encode())
    conn.execute(_FUNCTIONS)
    for result, operators in _OPERATORS.items():
        conn.execute(
            sql.SQL(_OPERATORS_OF).format(operators=operators, types=_TYPES, result=result)
        )
    conn.execute(_DOMAINS)
