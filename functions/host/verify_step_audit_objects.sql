-- What of the machinery is missing or was changed since this release was installed; no rows: nothing.
--
--     SELECT field, stored, expected FROM verify_step_audit_objects();
--
-- finding: missing object, altered object, or foreign object: a rule or a BEFORE trigger on our
-- tables that is not ours and could change what is written. field: kind and name of the object.

CREATE OR REPLACE FUNCTION verify_step_audit_objects()
RETURNS TABLE (
    finding text,
    field text,
    stored text,
    expected text
)
LANGUAGE sql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
    WITH expected AS (
        SELECT
            o.*,
            to_regclass(quote_ident(o.table_name)) AS table_oid
        FROM list_step_audit_objects() AS o
    ),

    found AS (
        SELECT
            e.kind || ' ' || CASE e.kind WHEN 'index' THEN '' ELSE e.table_name || '.' END || e.object_name AS field,
            e.definition,
            CASE e.kind
                WHEN 'trigger' THEN (
                    SELECT pg_get_triggerdef(t.oid, TRUE)
                    FROM pg_trigger AS t
                    WHERE t.tgrelid = e.table_oid AND t.tgname = e.object_name
                )
                WHEN 'constraint' THEN (
                    SELECT pg_get_constraintdef(c.oid, TRUE)
                    FROM pg_constraint AS c
                    WHERE c.conrelid = e.table_oid AND c.conname = e.object_name
                )
                WHEN 'index' THEN (
                    SELECT pg_get_indexdef(i.indexrelid, 0, TRUE)
                    FROM pg_index AS i
                    WHERE
                        i.indrelid = e.table_oid
                        AND i.indexrelid = to_regclass(quote_ident(e.object_name))
                        AND i.indisvalid
                )
                WHEN 'default' THEN (
                    SELECT pg_get_expr(d.adbin, d.adrelid)
                    FROM pg_attrdef AS d
                    JOIN pg_attribute AS a ON d.adrelid = a.attrelid AND d.adnum = a.attnum
                    WHERE d.adrelid = e.table_oid AND a.attname = e.object_name
                )
            END AS stored
        FROM expected AS e
    )

    SELECT
        CASE WHEN f.stored IS NULL THEN 'missing object' ELSE 'altered object' END,
        f.field,
        f.stored,
        f.definition
    FROM found AS f
    WHERE f.stored IS DISTINCT FROM f.definition

    UNION ALL
    -- The trigger may fire always or for what the engine writes; a guard fires always.
    SELECT
        'altered object',
        'trigger ' || e.table_name || '.' || e.object_name,
        CASE t.tgenabled
            WHEN 'D' THEN 'disabled'
            WHEN 'R' THEN 'replica only'
            ELSE 'enabled, but not always'
        END,
        CASE e.object_name WHEN 'trg_append_only' THEN 'enabled always' ELSE 'enabled' END
    FROM expected AS e
    JOIN pg_trigger AS t ON t.tgrelid = e.table_oid AND t.tgname = e.object_name
    WHERE e.kind = 'trigger' AND t.tgenabled <> 'A' AND (e.object_name = 'trg_append_only' OR t.tgenabled <> 'O')

    UNION ALL
    SELECT
        CASE WHEN p.path IS NULL THEN 'missing object' ELSE 'altered object' END,
        'function ' || substring(f.path, '^functions/.*/(.*)[.]sql$'),
        p.definition_sha256,
        f.definition_sha256
    FROM step_audit_files AS f
    LEFT JOIN list_step_audit_functions() AS p ON f.path = p.path
    WHERE f.path LIKE 'functions/%' AND p.definition_sha256 IS DISTINCT FROM f.definition_sha256

    UNION ALL
    SELECT
        'foreign object',
        'trigger ' || t.tgrelid::regclass::text || '.' || t.tgname::text,
        pg_get_triggerdef(t.oid, TRUE),
        NULL
    FROM pg_trigger AS t
    WHERE
        NOT t.tgisinternal
        AND t.tgtype & 2 <> 0
        AND t.tgname <> 'trg_append_only'
        AND t.tgrelid IN (SELECT e.table_oid FROM expected AS e WHERE e.object_name = 'trg_append_only')

    UNION ALL
    SELECT
        'foreign object',
        'rule ' || r.ev_class::regclass::text || '.' || r.rulename::text,
        pg_get_ruledef(r.oid, TRUE),
        NULL
    FROM pg_rewrite AS r
    WHERE r.ev_class IN (SELECT e.table_oid FROM expected AS e WHERE e.kind = 'trigger')
    ORDER BY 2;
$$;

COMMENT ON FUNCTION verify_step_audit_objects() IS
'What of triggers, guards, functions, keys, indexes and defaults is missing or was changed.';
