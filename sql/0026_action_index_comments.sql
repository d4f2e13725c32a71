-- 0.1.0: what each index for operator actions is for. An index is created alone in its file: Citus wants that.

COMMENT ON INDEX idx_events_action_recorded_at IS
'Pages of operator actions in order of time, and time ranges.';
COMMENT ON INDEX idx_events_action_task_uuid IS
'The operator actions of a task.';
COMMENT ON INDEX idx_events_action_step_uuid IS
'The operator actions of a step.';
COMMENT ON INDEX idx_events_transition_uuid IS
'The action that a transition is, its attributions and its erasures.';
