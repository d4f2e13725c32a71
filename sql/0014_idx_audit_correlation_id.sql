-- 0.1.0: an index for the results under a correlation id.

CREATE INDEX idx_audit_correlation_id
ON tasker_workflow_step_result_audit (correlation_id)
WHERE correlation_id IS NOT NULL;
