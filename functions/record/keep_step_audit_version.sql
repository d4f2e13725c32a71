-- Keeps a version of a transition among the changes, whichever type its metadata has.
--
--     SELECT keep_step_audit_version('insert', u, u, NULL, 'b', 2, localtimestamp, '{"event": null}'::jsonb)
--     FROM gen_random_uuid() AS u;
--
-- A part of create_step_result_audit(), with whose rights it runs. record_step_audit_change() writes the
-- same row by itself, as a call for each of a million deleted rows would cost too much.

CREATE OR REPLACE FUNCTION keep_step_audit_version(
    p_operation text,
    p_transition_uuid uuid,
    p_step_uuid uuid,
    p_from_state text,
    p_to_state text,
    p_sort_key bigint,
    p_created_at timestamp,
    p_metadata jsonb
)
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
BEGIN
    INSERT INTO step_audit_changes (
        operation, workflow_step_transition_uuid, workflow_step_uuid, from_state, to_state, sort_key,
        transition_created_at, metadata
    )
    VALUES (
        p_operation, p_transition_uuid, p_step_uuid, p_from_state, p_to_state, p_sort_key, p_created_at, p_metadata
    );
END;
$$;

COMMENT ON FUNCTION keep_step_audit_version(text, uuid, uuid, text, text, bigint, timestamp, jsonb) IS
'Keeps a version of a transition with metadata of type jsonb among the changes.';

CREATE OR REPLACE FUNCTION keep_step_audit_version(
    p_operation text,
    p_transition_uuid uuid,
    p_step_uuid uuid,
    p_from_state text,
    p_to_state text,
    p_sort_key bigint,
    p_created_at timestamp,
    p_metadata json
)
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
BEGIN
    INSERT INTO step_audit_changes (
        operation, workflow_step_transition_uuid, workflow_step_uuid, from_state, to_state, sort_key,
        transition_created_at, metadata_json
    )
    VALUES (
        p_operation, p_transition_uuid, p_step_uuid, p_from_state, p_to_state, p_sort_key, p_created_at, p_metadata
    );
END;
$$;

COMMENT ON FUNCTION keep_step_audit_version(text, uuid, uuid, text, text, bigint, timestamp, json) IS
'Keeps a version of a transition with metadata of type json among the changes.';
