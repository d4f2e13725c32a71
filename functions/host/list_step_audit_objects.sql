-- What the catalog says of step-audit's objects now: tables, triggers, keys, indexes, defaults, functions.
--
--     SELECT object_name, definition FROM list_step_audit_objects();
--
-- In words that do not depend on the session, the schema's name or the server's version. Foreign is in
-- it too what could change evidence or read it otherwise: rules and BEFORE triggers of others on our
-- tables, and rights to write them. A function's definition is a hash of all that CREATE FUNCTION sets.

CREATE OR REPLACE FUNCTION list_step_audit_objects()
RETURNS TABLE (object_name text, definition text)
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
SET quote_all_identifiers = off
SET intervalstyle = postgres
AS $$
DECLARE
    v_schema regnamespace := quote_ident(current_schema())::regnamespace;
    v_functions text[] := list_step_audit_function_names();
BEGIN
    RETURN QUERY
    WITH tables AS MATERIALIZED (
        SELECT
            c.oid,
            t.table_name
        FROM list_step_audit_tables() AS t
        JOIN pg_class AS c ON c.oid = to_regclass(t.table_name)
    ),

    host_triggers AS MATERIALIZED (
        SELECT h.*
        FROM pg_class AS c
        JOIN pg_namespace AS n ON c.relnamespace = n.oid
        CROSS JOIN list_host_triggers(n.nspname) AS h
        WHERE c.oid = get_host_table('tasker_workflow_step_transitions')
    )

    SELECT
        format('trigger %s.%s', t.tgrelid::regclass, t.tgname),
        pg_get_triggerdef(t.oid, TRUE)
        || CASE
            WHEN t.tgenabled = 'D' THEN ' (disabled)'
            WHEN t.tgenabled = 'R' THEN ' (replica only)'
            -- The engine's trigger may fire always; a guard has to.
            WHEN t.tgenabled = 'O' AND t.tgrelid IN (SELECT o.oid FROM tables AS o) THEN ' (enabled, but not always)'
            ELSE ''
        END
    FROM pg_trigger AS t
    WHERE
        NOT t.tgisinternal
        AND t.tgparentid = 0
        AND (
            (t.tgrelid IN (SELECT o.oid FROM tables AS o) AND (t.tgtype & 2 <> 0 OR t.tgname ~ '^trg_append_only'))
            OR EXISTS (
                SELECT FROM host_triggers AS h
                WHERE
                    t.tgrelid = h.table_oid
                    AND (t.tgname = h.trigger_name OR t.tgfoid = to_regprocedure(h.function_name || '()'))
            )
        )
    UNION ALL
    SELECT
        format('rule %s.%s', o.table_name, r.rulename),
        pg_get_ruledef(r.oid, TRUE)
    FROM pg_rewrite AS r
    JOIN tables AS o ON r.ev_class = o.oid
    UNION ALL
    SELECT
        format('constraint %s.%s', o.table_name, c.conname),
        CASE
            -- Not by pg_get_constraintdef(), which fails beside a REINDEX CONCURRENTLY.
            WHEN c.contype IN ('p', 'u') THEN format(
                '%s (%s)%s',
                CASE c.contype WHEN 'p' THEN 'PRIMARY KEY' ELSE 'UNIQUE' END,
                (
                    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY k.place)
                    FROM unnest(c.conkey) WITH ORDINALITY AS k (attnum, place)
                    JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = k.attnum
                ),
                CASE WHEN c.condeferrable THEN ' DEFERRABLE' ELSE '' END
            )
            -- A key is validated after it was recorded, or not, where a kept row violates it.
            ELSE replace(pg_get_constraintdef(c.oid, TRUE), ' NOT VALID', '')
        END
    FROM pg_constraint AS c
    JOIN tables AS o ON c.conrelid = o.oid
    -- 18 lists NOT NULL too.
    WHERE c.contype <> 'n'
    UNION ALL
    SELECT
        format('index %s', i.relname),
        -- NULL: gone since the statement began.
        pg_get_indexdef(i.oid, 0, TRUE) || CASE WHEN x.indisvalid THEN '' ELSE ' (invalid)' END
    FROM pg_index AS x
    JOIN pg_class AS i ON x.indexrelid = i.oid
    JOIN tables AS o ON x.indrelid = o.oid
    WHERE NOT EXISTS (SELECT FROM pg_constraint AS c WHERE c.conindid = i.oid AND c.contype IN ('p', 'u'))
    UNION ALL
    SELECT
        format('default %s.%s', o.table_name, a.attname),
        pg_get_expr(d.adbin, d.adrelid)
    FROM pg_attrdef AS d
    JOIN pg_attribute AS a ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    JOIN tables AS o ON d.adrelid = o.oid
    UNION ALL
    SELECT
        format('column %s.%s', o.table_name, a.attname),
        'NOT NULL'
    FROM pg_attribute AS a
    JOIN tables AS o ON a.attrelid = o.oid
    WHERE a.attnum > 0 AND a.attnotnull AND NOT a.attisdropped
    UNION ALL
    SELECT
        format('table %s', o.table_name),
        CASE c.relpersistence WHEN 'p' THEN 'logged' ELSE 'not logged' END
    FROM tables AS o
    JOIN pg_class AS c ON o.oid = c.oid
    UNION ALL
    SELECT
        format('view %s', c.relname),
        -- Not by pg_get_viewdef(), whose words change with the server's version.
        format(
            '%s; %s; of %s',
            array_to_string(c.reloptions, ', '),
            (
                SELECT string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum)
                FROM pg_attribute AS a
                WHERE a.attrelid = c.oid AND a.attnum > 0
            ),
            (
                SELECT string_agg(DISTINCT d.refobjid::regclass::text, ', ')
                FROM pg_rewrite AS r
                JOIN pg_depend AS d ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass
                WHERE r.ev_class = c.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> c.oid
            )
        )
    FROM pg_class AS c
    WHERE
        c.relnamespace = v_schema
        AND c.relkind = 'v'
        AND (c.relname = 'step_audits' OR c.relname IN (SELECT 'tasker_' || h.table_name FROM list_host_columns() AS h))
    UNION ALL
    SELECT
        format('function %s', p.proname),
        encode(
            sha256(
                convert_to(
                    json_agg(
                        json_build_array(
                            p.prokind,
                            l.lanname,
                            pg_get_function_arguments(p.oid),
                            pg_get_function_result(p.oid),
                            p.prosrc,
                            pg_get_function_sqlbody(p.oid),
                            p.provolatile,
                            p.proparallel,
                            p.prosecdef,
                            p.proisstrict,
                            p.proleakproof,
                            array_replace(
                                p.proconfig,
                                format('search_path=%s, pg_temp', quote_ident(current_schema())),
                                'search_path=here'
                            )
                        ) ORDER BY pg_get_function_identity_arguments(p.oid) COLLATE "C"
                    )::text,
                    'UTF8'
                )
            ),
            'hex'
        )
    FROM pg_proc AS p
    JOIN pg_language AS l ON p.prolang = l.oid
    WHERE
        p.pronamespace = v_schema
        AND p.proname = ANY(v_functions)
        AND obj_description(p.oid, 'pg_proc') IS NOT NULL
    GROUP BY p.proname
    UNION ALL
    SELECT
        r.object_name,
        'granted'
    FROM list_stray_rights() AS r;
END;
$$;

COMMENT ON FUNCTION list_step_audit_objects() IS
'What the catalog says of step-audit''s objects now: tables, triggers, keys, indexes, functions, rights and more.';
