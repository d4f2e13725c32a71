-- What step-audit needs of the workflow engine's tables and does not find in its schema.
--
--     SELECT list_missing_host_objects();
--
-- A table's name where the table is missing, table.column where only the column is. No rows: all is there.

CREATE OR REPLACE FUNCTION list_missing_host_objects()
RETURNS SETOF text
LANGUAGE sql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
    SELECT DISTINCT
        CASE WHEN c.oid IS NULL THEN needed.table_name ELSE needed.table_name || '.' || needed.column_name END
    FROM (
        VALUES
        ('tasker_tasks', 'task_uuid'),
        ('tasker_tasks', 'correlation_id'),
        ('tasker_workflow_steps', 'workflow_step_uuid'),
        ('tasker_workflow_steps', 'task_uuid'),
        ('tasker_workflow_steps', 'named_step_uuid'),
        ('tasker_named_steps', 'named_step_uuid'),
        ('tasker_named_steps', 'name'),
        ('tasker_workflow_step_transitions', 'workflow_step_transition_uuid'),
        ('tasker_workflow_step_transitions', 'workflow_step_uuid'),
        ('tasker_workflow_step_transitions', 'from_state'),
        ('tasker_workflow_step_transitions', 'to_state'),
        ('tasker_workflow_step_transitions', 'metadata'),
        ('tasker_workflow_step_transitions', 'sort_key'),
        ('tasker_workflow_step_transitions', 'most_recent'),
        ('tasker_workflow_step_transitions', 'created_at'),
        ('tasker_workflow_step_transitions', 'updated_at')
    ) AS needed (table_name, column_name)
    LEFT JOIN pg_class AS c
        ON
            c.relname = needed.table_name
            AND c.relnamespace = quote_ident(current_schema())::regnamespace
            AND c.relkind IN ('r', 'p')
    LEFT JOIN pg_attribute AS a
        ON
            a.attrelid = c.oid
            AND a.attname = needed.column_name
            AND NOT a.attisdropped
    WHERE a.attname IS NULL
    ORDER BY 1;
$$;

COMMENT ON FUNCTION list_missing_host_objects() IS
'What step-audit needs of the workflow engine''s tables and does not find in its schema.';
