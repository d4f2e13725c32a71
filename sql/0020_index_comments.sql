-- 0.1.0: what each index is for. An index is created alone in its file: Citus wants that.

COMMENT ON INDEX idx_audit_step_uuid IS
'The results of a step.';
COMMENT ON INDEX idx_audit_task_uuid IS
'The results of a task.';
COMMENT ON INDEX idx_audit_recorded_at IS
'Pages in order of time, and time ranges.';
COMMENT ON INDEX idx_audit_failures IS
'The failures in order of time, however rare they are.';
COMMENT ON INDEX idx_audit_worker_uuid IS
'The results of a worker.';
COMMENT ON INDEX idx_audit_correlation_id IS
'The results under a correlation id.';
COMMENT ON INDEX idx_audit_recorded_xid IS
'The rows since a seal.';
COMMENT ON INDEX idx_changes_transition_uuid IS
'The versions of a transition, in their order.';
COMMENT ON INDEX idx_changes_recorded_xid IS
'The changes since a seal, and those of a time range.';
COMMENT ON INDEX idx_events_recorded_xid IS
'The events since a seal.';
COMMENT ON INDEX idx_deleted_steps_step_uuid IS
'A step that was deleted.';
