-- 0.1.0: an index for the rows since a seal.

-- Rows are written in about the order of their transactions, and never change: a summary for each
-- range of pages finds the new ones, and costs an insert next to nothing.
CREATE INDEX idx_audit_recorded_xid
ON tasker_workflow_step_result_audit USING brin (recorded_xid) WITH (pages_per_range = 32, autosummarize = on);
