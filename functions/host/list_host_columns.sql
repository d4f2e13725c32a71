-- What step-audit needs of the engine's tables: columns, and the types that read as the needed one.
--
--     SELECT table_name, column_name, type_names FROM list_host_columns();
--
-- table_name: as today's Tasker calls the table; others put tasker_ before it.

CREATE OR REPLACE FUNCTION list_host_columns()
RETURNS TABLE (table_name text, column_name text, type_names text[])
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
    VALUES
    ('tasks', 'task_uuid', '{uuid}'::text[]),
    ('tasks', 'correlation_id', '{uuid}'),
    ('workflow_steps', 'workflow_step_uuid', '{uuid}'),
    ('workflow_steps', 'task_uuid', '{uuid}'),
    ('workflow_steps', 'named_step_uuid', '{uuid}'),
    ('named_steps', 'named_step_uuid', '{uuid}'),
    ('named_steps', 'name', '{string}'),
    ('workflow_step_transitions', 'workflow_step_transition_uuid', '{uuid}'),
    ('workflow_step_transitions', 'workflow_step_uuid', '{uuid}'),
    ('workflow_step_transitions', 'from_state', '{string,enum}'),
    ('workflow_step_transitions', 'to_state', '{string,enum}'),
    ('workflow_step_transitions', 'metadata', '{jsonb,json}'),
    ('workflow_step_transitions', 'sort_key', '{integer,bigint,smallint}'),
    ('workflow_step_transitions', 'most_recent', '{boolean}'),
    ('workflow_step_transitions', 'created_at', '{timestamp without time zone,timestamp with time zone}'),
    ('workflow_step_transitions', 'updated_at', '{timestamp without time zone,timestamp with time zone}');
$$;

COMMENT ON FUNCTION list_host_columns() IS
'What step-audit needs of the engine''s tables: columns, and the types that read as the needed one.';
