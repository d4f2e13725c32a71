-- 0.1.0: an index for the events of a transition: the action that it is, its attributions, its trail.

CREATE INDEX idx_events_transition_uuid
ON step_audit_events (workflow_step_transition_uuid)
WHERE workflow_step_transition_uuid IS NOT NULL;
