-- Whether a transition to this state is a worker result, and so is audited.
--
--     SELECT count(*) FROM tasker_workflow_step_transitions WHERE is_worker_result(to_state);
--
-- Its body is bound when it is created, so no search_path can divert it and the planner inlines it.

CREATE OR REPLACE FUNCTION is_worker_result(p_to_state text)
RETURNS boolean
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
RETURN p_to_state IN ('enqueued_for_orchestration', 'enqueued_as_error_for_orchestration');

COMMENT ON FUNCTION is_worker_result(text) IS
'Whether a transition to this state is a worker result, and so is audited.';
