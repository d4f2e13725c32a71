-- 0.1.0: an index for the results of a task.

CREATE INDEX idx_audit_task_uuid
ON tasker_workflow_step_result_audit (task_uuid);
