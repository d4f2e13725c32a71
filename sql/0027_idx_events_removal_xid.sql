-- 0.1.0: an index for the events by which a transaction takes rows or payload away.

CREATE INDEX idx_events_removal_xid
ON step_audit_events (recorded_xid)
WHERE kind = ANY(ARRAY['purged'::text, 'erased'::text]);
