-- The commitment to the version that a change left behind it.
--
--     SELECT get_step_audit_successor('0199f3a2-0000-7000-8000-000000000062', '\x00'::bytea);
--
-- Of an update, and of what came again, that is what the transition's next change kept, or how the
-- transition stands now. NULL where nothing stands behind the change: it was deleted, or has another
-- uuid since. p_salt: that of the change's leaf. A part of seal_step_result_audit(), with whose rights
-- it runs.

CREATE OR REPLACE FUNCTION get_step_audit_successor(p_change_uuid uuid, p_salt bytea)
RETURNS bytea
LANGUAGE sql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
    SELECT commit_step_audit_version(
        p_salt, v.workflow_step_transition_uuid, v.workflow_step_uuid, v.from_state, v.to_state, v.sort_key,
        v.created_at, v.payload
    )
    FROM step_audit_changes AS c
    CROSS JOIN LATERAL list_step_audit_versions(c.workflow_step_transition_uuid, 'change') AS v
    WHERE
        c.step_audit_change_uuid = p_change_uuid
        AND c.operation IN ('update', 'insert')
        AND (v.step_audit_change_uuid IS NULL OR v.step_audit_change_uuid > c.step_audit_change_uuid)
    ORDER BY v.step_audit_change_uuid
    LIMIT 1;
$$;

COMMENT ON FUNCTION get_step_audit_successor(uuid, bytea) IS
'The commitment to the version that a change left behind it.';
