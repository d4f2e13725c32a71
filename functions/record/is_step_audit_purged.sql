-- Whether a purge of this transaction accounts for a row, so that the guard lets it go.
--
--     SELECT is_step_audit_purged('step_audit_salts', s) FROM step_audit_salts AS s;
--
-- The event must stand already, name the leaf of the row's record, and no active hold cover it. Leaves,
-- subtrees, seals, and the events of holds, purges and erasures never go.
-- As in the trigger, arguments have the exact types.

CREATE OR REPLACE FUNCTION is_step_audit_purged(p_table text, p_old record)
RETURNS boolean
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_xid bigint := pg_catalog.pg_current_xact_id_if_assigned()::text::bigint;
    v_record_uuid uuid;
    v_leaf_index bigint;
    v_transition_uuid uuid;
    v_step_uuid uuid;
    v_task_uuid uuid;
BEGIN
    IF p_table = 'step_audit_deleted_steps'::text THEN
        RETURN
            EXISTS (SELECT FROM step_audit_events AS e WHERE e.kind = 'purged' AND e.recorded_xid = v_xid)
            AND NOT EXISTS (
                SELECT FROM tasker_workflow_step_result_audit AS a
                WHERE a.workflow_step_uuid = p_old.workflow_step_uuid
            )
            AND NOT is_step_audit_held(NULL::uuid, p_old.workflow_step_uuid, p_old.task_uuid);
    ELSIF p_table = 'step_audit_salts'::text THEN
        v_leaf_index := p_old.leaf_index;
    ELSE
        IF p_table = 'step_audit_changes'::text THEN
            v_record_uuid := p_old.step_audit_change_uuid;
            v_transition_uuid := p_old.workflow_step_transition_uuid;
            v_step_uuid := p_old.workflow_step_uuid;
        ELSIF p_table = 'step_audit_events'::text THEN
            IF p_old.kind IN ('hold', 'release', 'purged', 'erased') THEN
                RETURN FALSE;
            END IF;
            v_record_uuid := p_old.step_audit_event_uuid;
            v_transition_uuid := p_old.workflow_step_transition_uuid;
            v_step_uuid := p_old.workflow_step_uuid;
            v_task_uuid := p_old.task_uuid;
        ELSIF p_table = 'tasker_workflow_step_result_audit'::text THEN
            v_record_uuid := p_old.workflow_step_result_audit_uuid;
            v_transition_uuid := p_old.workflow_step_transition_uuid;
            v_step_uuid := p_old.workflow_step_uuid;
            v_task_uuid := p_old.task_uuid;
        ELSIF p_table = 'tasker_workflow_step_result_audit_anomalies'::text THEN
            v_record_uuid := p_old.workflow_step_result_audit_uuid;
        ELSE
            RETURN FALSE;
        END IF;
        SELECT l.leaf_index INTO v_leaf_index
        FROM step_audit_leaves AS l
        WHERE l.record_uuid = v_record_uuid;
    END IF;

    IF v_leaf_index IS NULL OR NOT EXISTS (
        SELECT FROM step_audit_events AS e
        CROSS JOIN LATERAL pg_catalog.jsonb_to_record(e.payload) AS f (leaves pg_catalog.int8multirange)
        WHERE
            e.kind = 'purged'
            AND e.recorded_xid = v_xid
            AND f.leaves OPERATOR(pg_catalog.@>) v_leaf_index
    ) THEN
        RETURN FALSE;
    END IF;

    -- For nearly all rows this is all.
    IF NOT EXISTS (SELECT FROM step_audit_events AS h WHERE h.kind = 'hold') THEN
        RETURN TRUE;
    END IF;
    IF v_record_uuid IS NULL THEN
        SELECT l.record_uuid INTO v_record_uuid
        FROM step_audit_leaves AS l
        WHERE l.leaf_index = v_leaf_index;
    END IF;
    IF v_transition_uuid IS NULL THEN
        SELECT r.* INTO v_transition_uuid, v_step_uuid, v_task_uuid
        FROM (
            SELECT a.workflow_step_transition_uuid, a.workflow_step_uuid, a.task_uuid
            FROM tasker_workflow_step_result_audit AS a
            WHERE a.workflow_step_result_audit_uuid = v_record_uuid
            UNION ALL
            SELECT c.workflow_step_transition_uuid, c.workflow_step_uuid, NULL
            FROM step_audit_changes AS c
            WHERE c.step_audit_change_uuid = v_record_uuid
            UNION ALL
            SELECT e.workflow_step_transition_uuid, e.workflow_step_uuid, e.task_uuid
            FROM step_audit_events AS e
            WHERE e.step_audit_event_uuid = v_record_uuid
        ) AS r;
    END IF;
    RETURN NOT is_step_audit_held(v_transition_uuid, v_step_uuid, v_task_uuid);
END;
$$;

COMMENT ON FUNCTION is_step_audit_purged(text, record) IS
'Whether a purge of this transaction accounts for a row, so that the guard lets it go.';
