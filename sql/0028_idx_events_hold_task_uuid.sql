-- 0.1.0: an index for the holds of a task and their releases; and for those of correlation ids, by NULL.

CREATE INDEX idx_events_hold_task_uuid
ON step_audit_events (task_uuid)
WHERE kind = ANY(ARRAY['hold'::text, 'release'::text]);
