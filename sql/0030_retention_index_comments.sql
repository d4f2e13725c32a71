-- 0.1.0: what each index for retention is for. An index is created alone in its file: Citus wants that.

COMMENT ON INDEX idx_events_removal_xid IS
'The purges and erasures of a transaction.';
COMMENT ON INDEX idx_events_hold_task_uuid IS
'The holds of a task and their releases, and those of correlation ids.';
COMMENT ON INDEX idx_events_result_transition_uuid IS
'That a result came again, or that its step is unknown.';
