-- 0.1.0: an index for the operator actions of a task.

CREATE INDEX idx_events_action_task_uuid
ON step_audit_events (task_uuid)
WHERE kind = 'operator action'::text;
