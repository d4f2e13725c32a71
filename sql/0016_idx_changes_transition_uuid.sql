-- 0.1.0: an index for the versions of a transition, in their order.

CREATE INDEX idx_changes_transition_uuid
ON step_audit_changes (workflow_step_transition_uuid, step_audit_change_uuid);
