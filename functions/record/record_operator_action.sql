-- Writes the event of an operator action, in the transaction of its transition.
--
--     SELECT record_operator_action('0199f3a2-...', '0199f3a1-...', 'Cancel', 'pending', 'cancelled', '{}');
--
-- A part of create_step_result_audit(), with its owner's rights. attempts is how often the step was
-- tried before, where the engine's table counts that; a reset sets it to zero right after. The column is
-- asked for in the engine's own table: the view of ours names no column that not every engine has.
-- As in create_step_result_audit(), arguments have the exact types.

CREATE OR REPLACE FUNCTION record_operator_action(
    p_transition_uuid uuid,
    p_step_uuid uuid,
    p_action text,
    p_from_state text,
    p_to_state text,
    p_claims jsonb
)
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_steps regclass := get_host_table('tasker_workflow_steps');
    v_attempts_of text := 'NULL';
    v_task_uuid uuid;
    v_attempts bigint;
BEGIN
    IF EXISTS (
        SELECT FROM pg_attribute AS a
        WHERE
            a.attrelid OPERATOR(pg_catalog.=) v_steps
            AND a.attname = 'attempts'::name
            AND a.atttypid OPERATOR(pg_catalog.=) ANY('{smallint,integer,bigint}'::regtype [])
    ) THEN
        v_attempts_of := 's.attempts';
    END IF;
    EXECUTE pg_catalog.format(
        'SELECT s.task_uuid, %s::bigint FROM %s AS s WHERE s.workflow_step_uuid = $1 LIMIT 1',
        VARIADIC ARRAY[v_attempts_of, v_steps::text]
    )
    INTO v_task_uuid, v_attempts
    USING p_step_uuid;

    INSERT INTO step_audit_events (
        kind, task_uuid, workflow_step_uuid, workflow_step_transition_uuid, payload
    )
    VALUES (
        'operator action',
        v_task_uuid,
        p_step_uuid,
        p_transition_uuid,
        pg_catalog.jsonb_build_object(
            'action', p_action,
            'from_state', pg_catalog.left(p_from_state, 200),
            'to_state', p_to_state,
            'attempts', v_attempts,
            'claims', p_claims
        )
    );
END;
$$;

COMMENT ON FUNCTION record_operator_action(uuid, uuid, text, text, text, jsonb) IS
'Writes the event of an operator action, in the transaction of its transition.';
