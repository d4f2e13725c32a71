-- 0.1.0: an index for the results under a correlation id.

-- Not partial: a condition is compiled at every insert, 2,700 instructions, and saves nothing where all have one.
CREATE INDEX idx_audit_correlation_id
ON tasker_workflow_step_result_audit (correlation_id);
