-- The engine's table behind a name that step-audit reads: the table itself, or what our view shows.
--
--     SELECT get_host_table('tasker_workflow_step_transitions');
--
-- p_name: tasker_tasks, tasker_workflow_steps, tasker_named_steps or tasker_workflow_step_transitions.
-- NULL where there is none: step-audit is not attached.

CREATE OR REPLACE FUNCTION get_host_table(p_name text)
RETURNS regclass
LANGUAGE sql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
    SELECT CASE WHEN c.relkind = 'v' THEN v.table_oid ELSE c.oid END::regclass
    FROM pg_class AS c
    LEFT JOIN LATERAL (
        SELECT d.refobjid AS table_oid
        FROM pg_rewrite AS r
        JOIN pg_depend AS d ON r.oid = d.objid AND d.classid OPERATOR(pg_catalog.=) 'pg_rewrite'::regclass
        WHERE r.ev_class = c.oid AND d.refclassid OPERATOR(pg_catalog.=) 'pg_class'::regclass AND d.refobjid <> c.oid
        LIMIT 1
    ) AS v ON TRUE
    WHERE
        c.relname = p_name
        AND c.relnamespace OPERATOR(pg_catalog.=) pg_catalog.quote_ident(current_schema()::text)::regnamespace;
$$;

COMMENT ON FUNCTION get_host_table(text) IS
'The engine''s table behind a name that step-audit reads: the table itself, or what our view shows.';
