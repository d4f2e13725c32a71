-- The workflow engine that step-audit in this schema belongs to, attached or to be attached.
--
--     SELECT schema_name, table_prefix FROM find_workflow_engine();
--
-- It is the one whose tables the audit is attached to; else the one in p_engine_schema, the one in
-- this schema, or the only one. Where none or several are found, it raises and lists them; and where
-- p_engine_schema is not the one that the audit is attached to.

CREATE OR REPLACE FUNCTION find_workflow_engine(
    p_engine_schema text DEFAULT NULL,
    OUT schema_name text,
    OUT table_prefix text
)
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_engines text;
    v_count bigint;
BEGIN
    SELECT n.nspname::text, CASE c.relname WHEN 'workflow_step_transitions' THEN '' ELSE 'tasker_' END
    INTO schema_name, table_prefix
    FROM pg_class AS c
    JOIN pg_namespace AS n ON c.relnamespace = n.oid
    WHERE c.oid = get_host_table('tasker_workflow_step_transitions');
    IF p_engine_schema <> schema_name THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = format(
                'in schema %s step-audit reads the engine in schema %s, not the one in %s',
                current_schema(), schema_name, p_engine_schema
            ),
            HINT = 'Install for the other engine into another schema: --schema.';
    ELSIF schema_name IS NOT NULL THEN
        RETURN;
    END IF;

    SELECT e.schema_name, e.table_prefix, count(*) OVER ()
    INTO schema_name, table_prefix, v_count
    FROM list_workflow_engines() AS e
    WHERE p_engine_schema IS NULL OR e.schema_name = p_engine_schema
    ORDER BY e.schema_name <> current_schema(), e.table_prefix = ''
    LIMIT 1;
    IF v_count = 1 OR schema_name = coalesce(p_engine_schema, current_schema()) THEN
        RETURN;
    END IF;

    SELECT string_agg(DISTINCT e.schema_name, ', ') INTO v_engines FROM list_workflow_engines() AS e;
    RAISE object_not_in_prerequisite_state USING
        MESSAGE = CASE
            WHEN v_count > 1 THEN format('several schemas have a workflow engine''s tables: %s', v_engines)
            ELSE format(
                'no workflow engine was found in %s: looked for tables tasker_tasks, tasker_workflow_steps, '
                'tasker_named_steps, tasker_workflow_step_transitions, and for tasks, workflow_steps, named_steps, '
                'workflow_step_transitions',
                coalesce('schema ' || p_engine_schema, 'database ' || current_database())
            )
        END,
        HINT = CASE
            WHEN v_count > 1 THEN 'Name the one to audit: --engine-schema, or p_engine_schema.'
            ELSE 'Run the engine''s migrations first, or connect to its database.'
        END;
END;
$$;

COMMENT ON FUNCTION find_workflow_engine(text) IS
'The workflow engine that step-audit in this schema belongs to; raises where none or several are found.';
