-- 0.1.0: an index for the results of a step.

-- The key alone: its entries are the same for all results of a step, and so are stored once. With
-- the time behind it, the index would be three times as large to save a short sort.
CREATE INDEX idx_audit_step_uuid
ON tasker_workflow_step_result_audit (workflow_step_uuid);
