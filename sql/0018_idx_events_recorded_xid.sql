-- 0.1.0: an index for the events since a seal.

CREATE INDEX idx_events_recorded_xid
ON step_audit_events USING brin (recorded_xid) WITH (pages_per_range = 32, autosummarize = on);
