-- Writes the audit row of a worker result, in the transaction that records the result.
--
-- The function of the trigger on the engine's transitions. It runs with the rights of its owner, who
-- is the owner of the engine's tables, so that the engine's role needs none on the audit tables.
-- Whatever a transition holds, it is audited and the unreadable recorded as an anomaly. Where no audit
-- row can be written, as the result has one already or its step is unknown, an event says so and the
-- engine goes on; what came again is kept among the changes too. It only appends: to read rows of ours
-- would fail transactions under SERIALIZABLE.
-- Others may create functions and operators in the engine's schema. So here, and in what is called
-- from here, arguments have the exact types and variadic functions their schema: nothing in the
-- schema can then be a better match than what is meant.

CREATE OR REPLACE FUNCTION create_step_result_audit()
RETURNS trigger
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
    v_result record;
    v_audit_uuid uuid;
    v_anomaly record;
    v_came_again boolean;
BEGIN
    IF is_worker_result(NEW.to_state::text) IS NOT TRUE THEN
        RETURN NULL;
    END IF;

    v_result := read_step_result(NEW.to_state::text, NEW.metadata);

    INSERT INTO tasker_workflow_step_result_audit (
        workflow_step_uuid, workflow_step_transition_uuid, task_uuid,
        worker_uuid, correlation_id, success, execution_time_ms
    )
    SELECT
        s.workflow_step_uuid,
        NEW.workflow_step_transition_uuid,
        s.task_uuid,
        v_result.worker_uuid,
        v_result.correlation_id,
        v_result.success,
        v_result.execution_time_ms
    FROM tasker_workflow_steps AS s
    WHERE
        s.workflow_step_uuid = NEW.workflow_step_uuid
        AND s.task_uuid IS NOT NULL
        AND NEW.workflow_step_transition_uuid IS NOT NULL
    ON CONFLICT (workflow_step_transition_uuid, workflow_step_uuid) DO NOTHING
    RETURNING workflow_step_result_audit_uuid INTO v_audit_uuid;

    IF v_audit_uuid IS NULL THEN
        v_came_again := NEW.workflow_step_transition_uuid IS NOT NULL AND EXISTS (
            SELECT FROM tasker_workflow_steps AS s
            WHERE s.workflow_step_uuid = NEW.workflow_step_uuid AND s.task_uuid IS NOT NULL
        );
        INSERT INTO step_audit_events (kind, workflow_step_uuid, workflow_step_transition_uuid)
        VALUES (
            CASE WHEN v_came_again THEN 'result came again' ELSE 'result without step' END,
            NEW.workflow_step_uuid,
            NEW.workflow_step_transition_uuid
        );
        IF v_came_again THEN
            PERFORM keep_step_audit_version(
                'insert'::text,
                NEW.workflow_step_transition_uuid,
                NEW.workflow_step_uuid,
                NEW.from_state::text,
                NEW.to_state::text,
                NEW.sort_key::bigint,
                get_utc_time(NEW.created_at),
                NEW.metadata
            );
        END IF;
    ELSIF v_result.anomalies IS NOT NULL THEN
        FOR v_anomaly IN
            SELECT
                f.field,
                f.raw_value,
                f.reason
            FROM pg_catalog.jsonb_to_recordset(v_result.anomalies) AS f (field text, raw_value text, reason text)
        LOOP
            INSERT INTO tasker_workflow_step_result_audit_anomalies (
                workflow_step_result_audit_uuid, field, raw_value, reason
            )
            VALUES (v_audit_uuid, v_anomaly.field, v_anomaly.raw_value, v_anomaly.reason);
        END LOOP;
    END IF;

    RETURN NULL;
END;
$$;

-- Whoever may execute a trigger function may attach it to a table of his own and forge audit rows.
REVOKE EXECUTE ON FUNCTION create_step_result_audit() FROM public;

COMMENT ON FUNCTION create_step_result_audit() IS
'Trigger function: writes the audit row of a worker result in the transaction that records it.';
