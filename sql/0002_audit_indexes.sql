-- 0.1.0: one index for each way the audit is searched.

-- The key alone: its entries are the same for all results of a step, and so are stored once. With
-- the time behind it, the index would be three times as large to save a short sort.
CREATE INDEX idx_audit_step_uuid
ON tasker_workflow_step_result_audit (workflow_step_uuid);
COMMENT ON INDEX idx_audit_step_uuid IS
'The results of a step.';

CREATE INDEX idx_audit_task_uuid
ON tasker_workflow_step_result_audit (task_uuid);
COMMENT ON INDEX idx_audit_task_uuid IS
'The results of a task.';

CREATE INDEX idx_audit_recorded_at
ON tasker_workflow_step_result_audit (recorded_at);
COMMENT ON INDEX idx_audit_recorded_at IS
'Pages in order of time, and time ranges.';

CREATE INDEX idx_audit_failures
ON tasker_workflow_step_result_audit (recorded_at)
WHERE NOT success;
COMMENT ON INDEX idx_audit_failures IS
'The failures in order of time, however rare they are.';

CREATE INDEX idx_audit_worker_uuid
ON tasker_workflow_step_result_audit (worker_uuid)
WHERE worker_uuid IS NOT NULL;
COMMENT ON INDEX idx_audit_worker_uuid IS
'The results of a worker.';

CREATE INDEX idx_audit_correlation_id
ON tasker_workflow_step_result_audit (correlation_id)
WHERE correlation_id IS NOT NULL;
COMMENT ON INDEX idx_audit_correlation_id IS
'The results under a correlation id.';

-- Rows are written in about the order of their transactions, and never change: a summary for each
-- range of pages finds the new ones, and costs an insert next to nothing.
CREATE INDEX idx_audit_recorded_xid
ON tasker_workflow_step_result_audit USING brin (recorded_xid) WITH (pages_per_range = 32, autosummarize = on);
COMMENT ON INDEX idx_audit_recorded_xid IS
'The rows since a seal.';
