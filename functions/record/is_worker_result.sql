-- Whether a transition to this state is a worker result, and so is audited.
--
--     SELECT count(*) FROM tasker_workflow_step_transitions WHERE is_worker_result(to_state);
--
-- Without a SET clause, so that the planner inlines it; all that it calls is pg_catalog's.

CREATE OR REPLACE FUNCTION is_worker_result(p_to_state text)
RETURNS boolean
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
AS $$
    SELECT p_to_state IN ('enqueued_for_orchestration', 'enqueued_as_error_for_orchestration');
$$;

COMMENT ON FUNCTION is_worker_result(text) IS
'Whether a transition to this state is a worker result, and so is audited.';
