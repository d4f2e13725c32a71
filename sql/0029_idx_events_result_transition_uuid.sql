-- 0.1.0: an index for what happened to a result: that it came again, or that its step is unknown.

CREATE INDEX idx_events_result_transition_uuid
ON step_audit_events (workflow_step_transition_uuid)
WHERE kind = ANY(ARRAY['result came again'::text, 'result without step'::text]);
