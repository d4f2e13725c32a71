-- 0.1.0: an index for pages of operator actions.

CREATE INDEX idx_events_action_recorded_at
ON step_audit_events (recorded_at, step_audit_event_uuid)
WHERE kind = 'operator action'::text;
