-- The workflow engines of this database: each schema that has an engine's four tables.
--
--     SELECT schema_name, table_prefix FROM list_workflow_engines();
--
-- table_prefix: tasker_ where the tables are called tasker_tasks and so on, empty where they are
-- called tasks, workflow_steps, named_steps and workflow_step_transitions, as today's Tasker has
-- them. The install asks the same before any function is there: setup/enter.sql has this query.

CREATE OR REPLACE FUNCTION list_workflow_engines()
RETURNS TABLE (schema_name text, table_prefix text, table_owner text)
LANGUAGE sql
STABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
    SELECT
        n.nspname::text AS schema_name,
        p.table_prefix,
        min(pg_catalog.pg_get_userbyid(c.relowner)::text) FILTER (WHERE t.name = 'workflow_step_transitions') AS table_owner
    FROM (VALUES ('tasker_'), ('')) AS p (table_prefix)
    CROSS JOIN (VALUES ('tasks'), ('workflow_steps'), ('named_steps'), ('workflow_step_transitions')) AS t (name)
    JOIN pg_catalog.pg_class AS c ON c.relname = p.table_prefix || t.name AND c.relkind IN ('r', 'p')
    JOIN pg_catalog.pg_namespace AS n ON c.relnamespace = n.oid AND n.nspname !~ '^pg_'
    GROUP BY n.nspname, p.table_prefix
    HAVING count(*) = 4
    ORDER BY 1, 2
$$;

COMMENT ON FUNCTION list_workflow_engines() IS
'The workflow engines of this database: each schema that has an engine''s four tables, and how they are called.';
