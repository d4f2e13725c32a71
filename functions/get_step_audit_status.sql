-- What is installed and how complete it is: one row.
--
--     SELECT * FROM get_step_audit_status();
--
-- trigger_state: enabled, disabled, replica only (fires for replicated rows alone) or missing.
-- attached: trigger and foreign keys are all there. unaudited counts committed worker results
-- without an audit row, by a scan of the transitions; NULL where the engine's tables are missing.

CREATE OR REPLACE FUNCTION get_step_audit_status()
RETURNS TABLE (
    release text,
    attached boolean,
    trigger_state text,
    missing_host_objects text[],
    audit_rows bigint,
    anomalies bigint,
    unaudited bigint
)
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
BEGIN
    SELECT max(f.release) INTO release FROM step_audit_files AS f;
    SELECT array_agg(o) INTO missing_host_objects FROM list_missing_host_objects() AS o;

    SELECT
        CASE t.tgenabled
            WHEN 'D' THEN 'disabled'
            WHEN 'R' THEN 'replica only'
            ELSE 'enabled'
        END
    INTO trigger_state
    FROM pg_trigger AS t
    WHERE
        t.tgrelid = to_regclass('tasker_workflow_step_transitions')
        AND t.tgname = 'trg_step_result_audit';
    trigger_state := coalesce(trigger_state, 'missing');

    SELECT trigger_state <> 'missing' AND count(*) = 3 INTO attached
    FROM pg_constraint AS c
    WHERE
        c.conrelid = 'tasker_workflow_step_result_audit'::regclass
        AND c.conname IN ('fk_audit_task', 'fk_audit_step', 'fk_audit_transition');

    SELECT count(*) INTO audit_rows FROM tasker_workflow_step_result_audit;
    SELECT count(*) INTO anomalies FROM tasker_workflow_step_result_audit_anomalies;
    IF missing_host_objects IS NULL THEN
        SELECT count(*) INTO unaudited
        FROM tasker_workflow_step_transitions AS t
        WHERE
            is_worker_result(t.to_state)
            AND NOT EXISTS (
                SELECT FROM tasker_workflow_step_result_audit AS a
                WHERE
                    a.workflow_step_uuid = t.workflow_step_uuid
                    AND a.workflow_step_transition_uuid = t.workflow_step_transition_uuid
            );
    END IF;
    RETURN NEXT;
END;
$$;

COMMENT ON FUNCTION get_step_audit_status() IS
'What is installed and how complete it is: release, attachment, trigger, audit rows and results without one.';
