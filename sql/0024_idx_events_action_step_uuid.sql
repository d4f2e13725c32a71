-- 0.1.0: an index for the operator actions of a step.

CREATE INDEX idx_events_action_step_uuid
ON step_audit_events (workflow_step_uuid)
WHERE kind = 'operator action'::text;
