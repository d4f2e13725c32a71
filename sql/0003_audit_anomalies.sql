-- 0.1.0: what could not be read of a result.

-- No foreign key to the audit: its check would read rows of other transactions, which fails them
-- under SERIALIZABLE. Trigger and backfill write both rows together, and a purge takes both away.
CREATE TABLE tasker_workflow_step_result_audit_anomalies (
    workflow_step_result_audit_uuid uuid NOT NULL,
    field text NOT NULL,
    raw_value text,
    reason text NOT NULL,
    CONSTRAINT pk_audit_anomaly PRIMARY KEY (workflow_step_result_audit_uuid, field)
);

COMMENT ON TABLE tasker_workflow_step_result_audit_anomalies IS
'What could not be read from a transition''s metadata, one row per field; a clean result has none.';
COMMENT ON COLUMN tasker_workflow_step_result_audit_anomalies.workflow_step_result_audit_uuid IS
'The audit row whose field could not be read.';
COMMENT ON COLUMN tasker_workflow_step_result_audit_anomalies.field IS
'event, success, execution_time_ms, worker_uuid or correlation_id.';
COMMENT ON COLUMN tasker_workflow_step_result_audit_anomalies.raw_value IS
'The text that stood there, cut at 200 characters; NULL where it is too large to be printed.';
COMMENT ON COLUMN tasker_workflow_step_result_audit_anomalies.reason IS
'Why it could not be read.';
COMMENT ON CONSTRAINT pk_audit_anomaly ON tasker_workflow_step_result_audit_anomalies IS
'A field of a result is unreadable at most once.';
