-- How a transition stood before each of its changes, and how it stands now.
--
--     SELECT step_audit_change_uuid, to_state, payload FROM list_step_audit_versions('0199f3a2-...');
--
-- The versions that changes kept, the oldest first, and the transition itself behind them, where
-- step_audit_change_uuid is NULL. payload: the text of its metadata, see print_step_audit_payload();
-- p_kind: the kind of the leaf that it is for.

CREATE OR REPLACE FUNCTION list_step_audit_versions(p_transition_uuid uuid, p_kind text DEFAULT 'result')
RETURNS TABLE (
    step_audit_change_uuid uuid,
    workflow_step_transition_uuid uuid,
    workflow_step_uuid uuid,
    from_state text,
    to_state text,
    sort_key bigint,
    created_at timestamp,
    payload text
)
LANGUAGE sql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
SET timezone = 'UTC'
AS $$
    (
        SELECT
            k.step_audit_change_uuid,
            k.workflow_step_transition_uuid,
            k.workflow_step_uuid,
            k.from_state,
            k.to_state,
            k.sort_key,
            k.transition_created_at,
            p.payload
        FROM step_audit_changes AS k
        CROSS JOIN LATERAL print_step_audit_change(k.metadata, k.metadata_json, p_kind) AS p
        WHERE k.workflow_step_transition_uuid = p_transition_uuid
        ORDER BY k.step_audit_change_uuid
    )
    UNION ALL
    SELECT
        NULL,
        t.workflow_step_transition_uuid,
        t.workflow_step_uuid,
        t.from_state::text,
        t.to_state::text,
        t.sort_key::bigint,
        get_utc_time(t.created_at),
        p.payload
    FROM tasker_workflow_step_transitions AS t
    LEFT JOIN LATERAL print_step_audit_payload(t.metadata, p_kind) AS p ON t.metadata IS NOT NULL
    WHERE t.workflow_step_transition_uuid = p_transition_uuid;
$$;

COMMENT ON FUNCTION list_step_audit_versions(uuid, text) IS
'How a transition stood before each of its changes, and how it stands now.';
