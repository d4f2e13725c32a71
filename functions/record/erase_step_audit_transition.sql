-- Erases what a transition and its records hold, and keeps that they were sealed.
--
--     SELECT leaves FROM erase_step_audit_transition('0199f3a2-...', 'request 62 under the law', 'ann');
--
-- An event of kind 'erased' says first who and why, names each leaf with the commitment to what was
-- there, and says which result it leaves standing. Then the metadata of the engine's transition becomes
-- NULL ({} where the column takes none), as do the metadata of its changes, the raw values of its
-- anomalies, and what is told of an operator's action; and the salts of the leaves go. leaves: how many;
-- 0 where all was erased before, and nothing was written. p_operator: who asked for it; the login is
-- recorded too.
-- Refused, as object_not_in_prerequisite_state, is what is held, is not sealed, or does not give the hash
-- of its leaf. Where the engine's row is locked it gives up after 500 ms: lock_not_available, and the
-- caller tries again. A role that may execute it needs no right on any table.
-- As in the trigger, arguments have the exact types.

CREATE OR REPLACE FUNCTION erase_step_audit_transition(
    p_transition_uuid uuid,
    p_reason text,
    p_operator text DEFAULT NULL,
    OUT leaves bigint
)
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path FROM CURRENT
SET row_security = off
SET lock_timeout = '500ms'
AS $$
DECLARE
    v_plan record;
    v_standing jsonb;
    v_takes_null boolean;
BEGIN
    PERFORM check_retention_reason(p_reason, p_operator);
    PERFORM check_retention_isolation();
    -- No hold, purge or other erasure comes between the look and the deed.
    PERFORM lock_step_audit_retention(p_shared => FALSE);
    SELECT
        pg_catalog.jsonb_build_array(
            t.workflow_step_transition_uuid, t.workflow_step_uuid, t.from_state::text, t.to_state::text,
            t.sort_key::bigint, get_utc_time(t.created_at)
        )
    INTO v_standing
    FROM tasker_workflow_step_transitions AS t
    WHERE t.workflow_step_transition_uuid = p_transition_uuid
    FOR UPDATE;
    -- Of what is no result the engine may change all, and no change is kept.
    IF is_worker_result(v_standing ->> 3) IS NOT TRUE THEN
        v_standing := NULL;
    END IF;
    v_plan := plan_step_audit_erasure(p_transition_uuid);
    IF v_plan.refusal IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = pg_catalog.concat(v_plan.refusal, '; nothing of it was erased'),
            HINT = v_plan.hint;
    END IF;
    leaves := coalesce(pg_catalog.jsonb_array_length(v_plan.leaves), 0)::bigint;
    IF leaves = 0 THEN
        RETURN;
    END IF;

    INSERT INTO step_audit_events (
        kind, task_uuid, workflow_step_uuid, workflow_step_transition_uuid, payload
    )
    VALUES (
        'erased',
        v_plan.task_uuid,
        v_plan.workflow_step_uuid,
        p_transition_uuid,
        pg_catalog.jsonb_build_object(
            'leaves', v_plan.leaves, 'standing', v_standing, 'reason', p_reason, 'operator', p_operator
        )
    );

    IF v_plan.transitions > 0 THEN
        SELECT NOT a.attnotnull INTO v_takes_null
        FROM pg_attribute AS a
        WHERE
            a.attrelid OPERATOR(pg_catalog.=) get_host_table('tasker_workflow_step_transitions')
            AND a.attname = 'metadata'::name;
        BEGIN
            PERFORM pg_catalog.set_config('step_audit.erasing'::text, 'on'::text, TRUE);
            IF v_takes_null THEN
                UPDATE tasker_workflow_step_transitions AS t
                SET metadata = NULL
                WHERE t.workflow_step_transition_uuid = p_transition_uuid AND NOT is_erased_metadata(t.metadata);
            ELSE
                UPDATE tasker_workflow_step_transitions AS t
                SET metadata = '{}'
                WHERE t.workflow_step_transition_uuid = p_transition_uuid AND NOT is_erased_metadata(t.metadata);
            END IF;
            PERFORM pg_catalog.set_config('step_audit.erasing'::text, ''::text, TRUE);
            IF EXISTS (
                SELECT FROM tasker_workflow_step_transitions AS t
                WHERE t.workflow_step_transition_uuid = p_transition_uuid AND NOT is_erased_metadata(t.metadata)
            ) THEN
                RAISE triggered_action_exception USING MESSAGE = 'a trigger or rule brings it back';
            END IF;
            IF EXISTS (
                SELECT FROM step_audit_changes AS c
                WHERE
                    c.workflow_step_transition_uuid = p_transition_uuid
                    AND c.recorded_xid = pg_current_xact_id()::text::bigint
            ) THEN
                RAISE triggered_action_exception USING MESSAGE = 'a trigger or rule changes more than it';
            END IF;
        EXCEPTION
            WHEN
                integrity_constraint_violation OR generated_always OR raise_exception
                OR triggered_action_exception OR insufficient_privilege
            THEN
                RAISE object_not_in_prerequisite_state USING
                    MESSAGE = pg_catalog.format(
                        'the engine''s table keeps the metadata of transition %s: %s; nothing of it was erased',
                        VARIADIC ARRAY[p_transition_uuid::text, sqlerrm]
                    ),
                    HINT = 'Change what stands there as the engine would, seal, and erase again what the change has left.';
        END;
    END IF;

    UPDATE step_audit_changes AS c
    SET metadata = NULL, metadata_json = NULL
    WHERE
        c.workflow_step_transition_uuid = p_transition_uuid
        AND (c.metadata IS NOT NULL OR c.metadata_json IS NOT NULL);
    UPDATE tasker_workflow_step_result_audit_anomalies AS n
    SET raw_value = NULL
    FROM tasker_workflow_step_result_audit AS a
    WHERE
        a.workflow_step_transition_uuid = p_transition_uuid
        AND n.workflow_step_result_audit_uuid = a.workflow_step_result_audit_uuid
        AND n.raw_value IS NOT NULL;
    UPDATE step_audit_events AS e
    SET payload = NULL
    WHERE
        e.workflow_step_transition_uuid = p_transition_uuid
        AND e.kind IN ('operator action', 'attribution')
        AND e.payload IS NOT NULL;
    DELETE FROM step_audit_salts AS s
    WHERE s.leaf_index = ANY(v_plan.leaf_indexes);
END;
$$;

-- Who may erase is the owner's choice.
REVOKE EXECUTE ON FUNCTION erase_step_audit_transition(uuid, text, text) FROM public;

COMMENT ON FUNCTION erase_step_audit_transition(uuid, text, text) IS
'Erases what a transition and its records hold, and keeps that they were sealed.';
