-- 0.1.0: an index for the action that a transition is, for its attributions and its erasures.

CREATE INDEX idx_events_transition_uuid
ON step_audit_events (workflow_step_transition_uuid)
WHERE kind = ANY(ARRAY['operator action'::text, 'attribution'::text, 'erased'::text]);
