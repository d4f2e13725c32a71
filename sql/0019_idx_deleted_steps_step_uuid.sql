-- 0.1.0: an index for a step that was deleted.

CREATE INDEX idx_deleted_steps_step_uuid
ON step_audit_deleted_steps (workflow_step_uuid);
