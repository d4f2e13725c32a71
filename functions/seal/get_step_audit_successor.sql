-- The commitment to the version that a change left behind it.
--
--     SELECT get_step_audit_successor('0199f3a2-0000-7000-8000-000000000062', '\x00'::bytea);
--
-- Of an update, and of what came again, that is what the transition's next change kept, or how the
-- transition stands now. NULL where no worker result stands behind the change: it was deleted, or has
-- another uuid or state since. p_salt: that of the change's leaf. A part of seal_step_result_audit(), with whose rights
-- it runs.

CREATE OR REPLACE FUNCTION get_step_audit_successor(p_change_uuid uuid, p_salt bytea)
RETURNS bytea
LANGUAGE sql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
SET timezone = 'UTC'
AS $$
    SELECT commit_step_audit_version(
        p_salt, s.workflow_step_transition_uuid, s.workflow_step_uuid, s.from_state, s.to_state, s.sort_key,
        s.created_at, s.payload
    )
    FROM step_audit_changes AS c
    CROSS JOIN LATERAL (
        SELECT
            n.workflow_step_transition_uuid,
            n.workflow_step_uuid,
            n.from_state,
            n.to_state,
            n.sort_key,
            n.transition_created_at AS created_at,
            p.payload
        FROM (
            SELECT k.*
            FROM step_audit_changes AS k
            WHERE
                k.workflow_step_transition_uuid = c.workflow_step_transition_uuid
                AND k.step_audit_change_uuid > c.step_audit_change_uuid
            ORDER BY k.step_audit_change_uuid
            LIMIT 1
        ) AS n
        CROSS JOIN LATERAL print_step_audit_change(n.metadata, n.metadata_json) AS p
        UNION ALL
        SELECT
            t.workflow_step_transition_uuid,
            t.workflow_step_uuid,
            t.from_state::text,
            t.to_state::text,
            t.sort_key::bigint,
            get_utc_time(t.created_at),
            p.payload
        FROM tasker_workflow_step_transitions AS t
        LEFT JOIN LATERAL print_step_audit_payload(t.metadata, 'change') AS p ON t.metadata IS NOT NULL
        WHERE t.workflow_step_transition_uuid = c.workflow_step_transition_uuid
        LIMIT 1
    ) AS s
    WHERE
        c.step_audit_change_uuid = p_change_uuid
        AND c.operation IN ('update', 'insert')
        -- Of what is no result no change is kept.
        AND is_worker_result(s.to_state);
$$;

COMMENT ON FUNCTION get_step_audit_successor(uuid, bytea) IS
'The commitment to the version that a change left behind it.';
