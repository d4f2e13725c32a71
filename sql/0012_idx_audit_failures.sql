-- 0.1.0: an index for the failures in order of time, however rare they are.

CREATE INDEX idx_audit_failures
ON tasker_workflow_step_result_audit (recorded_at)
WHERE NOT success;
