-- What step-audit has in this schema, and to whom it belongs.
--
--     SELECT object_name, owner_name FROM list_step_audit_owners();
--
-- give_statement: the beginning of the ALTER ... OWNER TO of the object.

CREATE OR REPLACE FUNCTION list_step_audit_owners()
RETURNS TABLE (object_name text, owner_name name, give_statement text)
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_schema regnamespace := quote_ident(current_schema())::regnamespace;
    v_functions text[] := list_step_audit_function_names();
BEGIN
    RETURN QUERY
    SELECT
        format('%s %s', CASE c.relkind WHEN 'v' THEN 'view' ELSE 'table' END, c.relname),
        pg_get_userbyid(c.relowner),
        format('ALTER TABLE %I', c.relname)
    FROM pg_class AS c
    WHERE
        c.relnamespace = v_schema
        AND (
            c.relname IN (SELECT t.table_name FROM list_step_audit_tables() AS t)
            OR (
                c.relkind = 'v'
                AND (c.relname = 'step_audits' OR c.relname IN (SELECT 'tasker_' || h.table_name FROM list_host_columns() AS h))
            )
        )
    UNION ALL
    SELECT 'type step_audit', pg_get_userbyid(t.typowner), 'ALTER TYPE step_audit'
    FROM pg_type AS t
    WHERE t.typnamespace = v_schema AND t.typname = 'step_audit'
    UNION ALL
    SELECT
        format('function %s', p.proname),
        pg_get_userbyid(p.proowner),
        format('ALTER ROUTINE %s', p.oid::regprocedure)
    FROM pg_proc AS p
    WHERE p.pronamespace = v_schema AND p.proname = ANY(v_functions) AND obj_description(p.oid, 'pg_proc') IS NOT NULL;
END;
$$;

COMMENT ON FUNCTION list_step_audit_owners() IS
'What step-audit has in this schema, and to whom it belongs.';
