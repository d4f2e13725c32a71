-- Gives the engine's tables the names that step-audit reads, and makes the view step_audits over them.
--
--     SELECT show_host_tables('tasker', '');
--
-- Where the engine's tables stand elsewhere or are called otherwise, they are shown by views with the
-- columns that step-audit uses, which run with the rights of whoever reads them. Who may read the
-- audit may read these views too, also after they were made anew. A part of attach_step_result_audit().

CREATE OR REPLACE FUNCTION show_host_tables(p_schema text, p_prefix text)
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_host record;
    v_reader text;
    v_view text;
BEGIN
    -- Where one shows another table, or is gone, all are made anew.
    IF EXISTS (
        SELECT FROM list_host_columns() AS h
        WHERE get_host_table('tasker_' || h.table_name)
            IS DISTINCT FROM format('%I.%I', p_schema, p_prefix || h.table_name)::regclass
    ) THEN
        PERFORM hide_host_tables();
    END IF;

    FOR v_host IN
        SELECT
            'tasker_' || h.table_name AS view_name,
            format('%I.%I', p_schema, p_prefix || h.table_name)::regclass AS table_oid,
            string_agg(quote_ident(h.column_name), ', ' ORDER BY h.place) AS columns
        FROM list_host_columns() WITH ORDINALITY AS h (table_name, column_name, type_names, place)
        WHERE get_host_table('tasker_' || h.table_name) IS NULL
        GROUP BY h.table_name
    LOOP
        DELETE FROM step_audit_objects AS o WHERE o.object_name = 'view ' || v_host.view_name;
        EXECUTE format(
            'CREATE VIEW %I WITH (security_invoker = true) AS SELECT %s FROM %s',
            v_host.view_name, v_host.columns, v_host.table_oid
        );
        EXECUTE format('COMMENT ON VIEW %I IS %L', v_host.view_name, 'The engine''s table, as step-audit reads it.');
    END LOOP;

    PERFORM follow_renamed_engine();
    PERFORM create_step_audits_view();

    FOR v_view, v_reader IN
        SELECT v.oid::regclass::text, a.grantee::regrole::text
        FROM pg_class AS c, aclexplode(c.relacl) AS a, pg_class AS v
        WHERE
            c.oid = 'tasker_workflow_step_result_audit'::regclass
            AND a.grantee NOT IN (0, c.relowner)
            AND a.privilege_type = 'SELECT'
            AND v.relnamespace = c.relnamespace
            AND v.relkind = 'v'
            AND NOT has_table_privilege(a.grantee, v.oid, 'SELECT')
    LOOP
        EXECUTE format('GRANT SELECT ON %s TO %s', v_view, v_reader);
    END LOOP;
END;
$$;

COMMENT ON FUNCTION show_host_tables(text, text) IS
'Gives the engine''s tables the names that step-audit reads, and makes the view step_audits over them.';
