-- What is installed and how complete it is: one row.
--
--     SELECT * FROM get_step_audit_status();
--
-- The first columns are those of get_step_audit_health(). unaudited counts committed worker results
-- without an audit row, by a scan of the transitions, but for those that an event tells of, as no
-- audit row can name their task; NULL where the engine's tables are not shown. changes counts the
-- versions of results that stand no more; deleted those results of which none stands, by a look for the
-- transition of each version, NULL as above. sealed counts the leaves of the log. All counts are NULL
-- where a table of step-audit is gone.

CREATE OR REPLACE FUNCTION get_step_audit_status()
RETURNS TABLE (
    release text,
    attached boolean,
    trigger_state text,
    problems text[],
    audit_rows bigint,
    anomalies bigint,
    unaudited bigint,
    changes bigint,
    deleted bigint,
    sealed bigint
)
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
BEGIN
    SELECT h.* INTO release, attached, trigger_state, problems
    FROM get_step_audit_health() AS h;

    -- What cannot be counted, as a table is gone, is NULL; the problems say so.
    IF EXISTS (SELECT FROM list_step_audit_tables() AS t WHERE to_regclass(t.table_name) IS NULL) THEN
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT count(*) INTO audit_rows FROM tasker_workflow_step_result_audit;
    SELECT count(*) INTO anomalies FROM tasker_workflow_step_result_audit_anomalies;
    IF get_host_table('tasker_workflow_step_transitions') IS NOT NULL THEN
        SELECT count(*) INTO unaudited
        FROM tasker_workflow_step_transitions AS t
        WHERE
            is_worker_result(t.to_state::text)
            AND NOT EXISTS (
                SELECT FROM tasker_workflow_step_result_audit AS a
                WHERE
                    a.workflow_step_uuid = t.workflow_step_uuid
                    AND a.workflow_step_transition_uuid = t.workflow_step_transition_uuid
            );
        SELECT count(DISTINCT a.workflow_step_result_audit_uuid) INTO deleted
        FROM step_audit_changes AS c
        JOIN tasker_workflow_step_result_audit AS a
            ON
                c.workflow_step_uuid = a.workflow_step_uuid
                AND c.workflow_step_transition_uuid = a.workflow_step_transition_uuid
        WHERE NOT EXISTS (
            SELECT FROM tasker_workflow_step_transitions AS t
            WHERE
                t.workflow_step_transition_uuid = c.workflow_step_transition_uuid
                AND t.workflow_step_uuid = c.workflow_step_uuid
        );
    END IF;
    IF unaudited > 0 THEN
        SELECT unaudited - count(*) INTO unaudited
        FROM tasker_workflow_step_transitions AS t
        WHERE
            t.workflow_step_transition_uuid IN (
                SELECT e.workflow_step_transition_uuid FROM step_audit_events AS e
                WHERE e.kind = 'result without step'
            )
            AND is_worker_result(t.to_state::text)
            AND NOT EXISTS (
                SELECT FROM tasker_workflow_steps AS s
                WHERE s.workflow_step_uuid = t.workflow_step_uuid AND s.task_uuid IS NOT NULL
            )
            AND NOT EXISTS (
                SELECT FROM tasker_workflow_step_result_audit AS a
                WHERE
                    a.workflow_step_uuid = t.workflow_step_uuid
                    AND a.workflow_step_transition_uuid = t.workflow_step_transition_uuid
            );
    END IF;
    SELECT count(*) INTO changes FROM step_audit_changes AS c WHERE c.operation <> 'insert';
    SELECT coalesce(max(s.tree_size), 0) INTO sealed FROM step_audit_seals AS s;
    RETURN NEXT;
END;
$$;

COMMENT ON FUNCTION get_step_audit_status() IS
'What is installed and how complete it is: release, attachment, trigger, audit rows and results without one.';
