-- Keeps the worker results, or the steps, of a table of the engine's that is about to be truncated.
--
-- The function of BEFORE TRUNCATE triggers, on each partition where a table is partitioned. A TRUNCATE
-- of several tables fires all of them before it empties the first.
-- As in create_step_result_audit(), arguments have the exact types.

CREATE OR REPLACE FUNCTION record_step_audit_truncate()
RETURNS trigger
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
    v_column text;
BEGIN
    SELECT CASE WHEN a.atttypid OPERATOR(pg_catalog.=) 'jsonb'::regtype THEN 'metadata' ELSE 'metadata_json' END INTO v_column
    FROM pg_attribute AS a
    WHERE a.attrelid = TG_RELID AND a.attname = 'metadata'::name AND NOT a.attisdropped;

    IF TG_ARGV[0] = 'steps'::text THEN
        EXECUTE pg_catalog.format(
            'INSERT INTO step_audit_deleted_steps (workflow_step_uuid, task_uuid, step_name) '
            'SELECT s.workflow_step_uuid, s.task_uuid, n.name::text FROM ONLY %s AS s '
            'LEFT JOIN tasker_named_steps AS n ON s.named_step_uuid = n.named_step_uuid',
            VARIADIC ARRAY[TG_RELID::regclass::text]
        );
    -- A partition that was detached may have lost the column.
    ELSIF v_column IS NOT NULL THEN
        EXECUTE pg_catalog.format(
            'INSERT INTO step_audit_changes ('
            'operation, workflow_step_transition_uuid, workflow_step_uuid, from_state, to_state, sort_key, '
            'transition_created_at, %I) '
            'SELECT ''truncate'', t.workflow_step_transition_uuid, t.workflow_step_uuid, t.from_state::text, '
            't.to_state::text, t.sort_key, get_utc_time(t.created_at), t.metadata '
            'FROM ONLY %s AS t WHERE is_worker_result(t.to_state::text)',
            VARIADIC ARRAY[v_column, TG_RELID::regclass::text]
        );
    END IF;
    RETURN NULL;
END;
$$;

-- Whoever may execute a trigger function may attach it to a table of his own and forge changes.
REVOKE EXECUTE ON FUNCTION record_step_audit_truncate() FROM public;

COMMENT ON FUNCTION record_step_audit_truncate() IS
'Trigger function: keeps the worker results, or the steps, of a table that is about to be truncated.';
