-- 0.1.0: an index for the changes since a seal, and for those of a time range.

CREATE INDEX idx_changes_recorded_xid
ON step_audit_changes USING brin (recorded_xid, recorded_at) WITH (pages_per_range = 32, autosummarize = on);
