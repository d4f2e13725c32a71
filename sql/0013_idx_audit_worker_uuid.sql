-- 0.1.0: an index for the results of a worker.

CREATE INDEX idx_audit_worker_uuid
ON tasker_workflow_step_result_audit (worker_uuid)
WHERE worker_uuid IS NOT NULL;
