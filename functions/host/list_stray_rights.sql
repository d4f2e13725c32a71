-- Rights on step-audit's objects by which somebody else than their owner could forge evidence.
--
--     SELECT object_name, revoke_statement FROM list_stray_rights();
--
-- To write our tables, or to execute what runs with the owner's rights: the trigger's function, which
-- could be put on a table of one's own, and for PUBLIC the seal; or to create in a schema that is
-- step-audit's own. A restore without rights (--no-acl)
-- leaves functions to PUBLIC. Rights to read are none of these; see grant_step_audit().

CREATE OR REPLACE FUNCTION list_stray_rights()
RETURNS TABLE (object_name text, revoke_statement text)
LANGUAGE sql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
    SELECT
        format('right %s on %s of %s', r.right_name, c.relname, coalesce(o.rolname, 'PUBLIC')),
        format('REVOKE %s ON %I FROM %s CASCADE', r.right_name, c.relname, coalesce(quote_ident(o.rolname), 'PUBLIC'))
    FROM list_step_audit_tables() AS t
    JOIN pg_class AS c ON c.oid = to_regclass(t.table_name)
    CROSS JOIN LATERAL (
        SELECT a.grantee, a.privilege_type AS right_name FROM aclexplode(c.relacl) AS a
        UNION ALL
        SELECT a.grantee, format('%s (%I)', a.privilege_type, l.attname)
        FROM pg_attribute AS l, aclexplode(l.attacl) AS a
        WHERE l.attrelid = c.oid
    ) AS r
    LEFT JOIN pg_roles AS o ON r.grantee = o.oid
    WHERE r.grantee <> c.relowner AND r.right_name !~ '^SELECT'
    UNION ALL
    SELECT
        format('right EXECUTE on %s of %s', p.proname, coalesce(o.rolname, 'PUBLIC')),
        format('REVOKE EXECUTE ON FUNCTION %s FROM %s CASCADE', p.oid::regprocedure, coalesce(quote_ident(o.rolname), 'PUBLIC'))
    FROM pg_proc AS p
    CROSS JOIN aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
    LEFT JOIN pg_roles AS o ON a.grantee = o.oid
    WHERE
        p.pronamespace = quote_ident(current_schema())::regnamespace
        AND p.prosecdef
        AND p.proname = ANY(list_step_audit_function_names())
        AND a.grantee <> p.proowner
        AND (a.grantee = 0 OR p.prorettype = 'trigger'::regtype)
    UNION ALL
    -- In a schema of its own nobody else creates what our functions could call.
    SELECT
        format('right CREATE on schema %s of %s', n.nspname, coalesce(o.rolname, 'PUBLIC')),
        format('REVOKE CREATE ON SCHEMA %I FROM %s CASCADE', n.nspname, coalesce(quote_ident(o.rolname), 'PUBLIC'))
    FROM pg_namespace AS n
    JOIN pg_class AS c ON n.nspowner = c.relowner AND c.oid = to_regclass('step_audit_files')
    CROSS JOIN aclexplode(n.nspacl) AS a
    LEFT JOIN pg_roles AS o ON a.grantee = o.oid
    WHERE
        n.nspname = current_schema()
        AND a.privilege_type = 'CREATE'
        AND a.grantee <> n.nspowner
        AND n.oid <> (SELECT h.relnamespace FROM pg_class AS h WHERE h.oid = get_host_table('tasker_tasks'))
    ORDER BY 1
$$;

COMMENT ON FUNCTION list_stray_rights() IS
'Rights on step-audit''s objects by which somebody else than their owner could forge evidence.';
