-- What step-audit needs of the workflow engine's tables and does not find in its schema.
--
--     SELECT list_missing_host_objects();
--
-- A table's name where the table is missing, table.column where only the column is, and what is wrong
-- with its type where it has another. No rows: all is there. "string" is any character type.

CREATE OR REPLACE FUNCTION list_missing_host_objects()
RETURNS SETOF text
LANGUAGE sql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
    SELECT DISTINCT
        CASE
            WHEN c.oid IS NULL THEN needed.table_name
            WHEN a.attname IS NULL THEN format('%s.%s', needed.table_name, needed.column_name)
            ELSE format(
                '%s.%s of type %s (it is %s)',
                needed.table_name, needed.column_name, needed.type_name, format_type(a.atttypid, NULL)
            )
        END
    FROM (
        VALUES
        ('tasker_tasks', 'task_uuid', 'uuid'),
        ('tasker_tasks', 'correlation_id', 'uuid'),
        ('tasker_workflow_steps', 'workflow_step_uuid', 'uuid'),
        ('tasker_workflow_steps', 'task_uuid', 'uuid'),
        ('tasker_workflow_steps', 'named_step_uuid', 'uuid'),
        ('tasker_named_steps', 'named_step_uuid', 'uuid'),
        ('tasker_named_steps', 'name', 'string'),
        ('tasker_workflow_step_transitions', 'workflow_step_transition_uuid', 'uuid'),
        ('tasker_workflow_step_transitions', 'workflow_step_uuid', 'uuid'),
        ('tasker_workflow_step_transitions', 'from_state', 'string'),
        ('tasker_workflow_step_transitions', 'to_state', 'string'),
        ('tasker_workflow_step_transitions', 'metadata', 'jsonb'),
        ('tasker_workflow_step_transitions', 'sort_key', 'integer'),
        ('tasker_workflow_step_transitions', 'most_recent', 'boolean'),
        ('tasker_workflow_step_transitions', 'created_at', 'timestamp without time zone'),
        ('tasker_workflow_step_transitions', 'updated_at', 'timestamp without time zone')
    ) AS needed (table_name, column_name, type_name)
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
    LEFT JOIN pg_type AS y ON a.atttypid = y.oid
    WHERE
        a.attname IS NULL
        OR CASE
            WHEN needed.type_name = 'string' THEN y.typcategory <> 'S'
            ELSE format_type(a.atttypid, NULL) <> needed.type_name
        END
    ORDER BY 1;
$$;

COMMENT ON FUNCTION list_missing_host_objects() IS
'What step-audit needs of the workflow engine''s tables and does not find in its schema.';
