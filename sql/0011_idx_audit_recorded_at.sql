-- 0.1.0: an index for pages in order of time, and time ranges.

CREATE INDEX idx_audit_recorded_at
ON tasker_workflow_step_result_audit (recorded_at) WITH (fillfactor = 97);
