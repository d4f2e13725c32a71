-- 0.1.0: an index for the results of a worker.

-- Not partial: a condition is compiled at every insert, 2,700 instructions, and saves nothing where all have one.
CREATE INDEX idx_audit_worker_uuid
ON tasker_workflow_step_result_audit (worker_uuid);
