-- Writes the audit row of a worker result, in the transaction that records the result.
--
-- The function of trigger trg_step_result_audit. It runs with the rights of its owner, so that the
-- engine's role needs none on the audit tables. Whatever a transition holds, it is audited and the
-- unreadable recorded as an anomaly; if the audit row itself cannot be written, the transition fails
-- with it: no result without its audit row.
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
    WHERE s.workflow_step_uuid = NEW.workflow_step_uuid;

    IF NOT FOUND THEN
        RAISE foreign_key_violation USING
            MESSAGE = pg_catalog.format(
                'the result of step %s cannot be audited: the step is not in tasker_workflow_steps',
                NEW.workflow_step_uuid
            ),
            HINT = 'Insert the step before its transitions.';
    END IF;

    IF v_result.anomalies IS NOT NULL THEN
        INSERT INTO tasker_workflow_step_result_audit_anomalies (
            workflow_step_result_audit_uuid, field, raw_value, reason
        )
        SELECT
            a.workflow_step_result_audit_uuid,
            f.field,
            f.raw_value,
            f.reason
        FROM tasker_workflow_step_result_audit AS a
        CROSS JOIN pg_catalog.jsonb_to_recordset(v_result.anomalies) AS f (field text, raw_value text, reason text)
        WHERE
            a.workflow_step_transition_uuid = NEW.workflow_step_transition_uuid
            AND a.workflow_step_uuid = NEW.workflow_step_uuid;
    END IF;

    RETURN NULL;
END;
$$;

-- Whoever may execute a trigger function may attach it to a table of his own and forge audit rows.
REVOKE EXECUTE ON FUNCTION create_step_result_audit() FROM public;

COMMENT ON FUNCTION create_step_result_audit() IS
'Trigger function: writes the audit row of a worker result in the transaction that records it.';
