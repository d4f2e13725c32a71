-- The audited results of one workflow step, newest first, each with its full result.
--
--     SELECT recorded_at, worker_uuid, success, result FROM get_step_audit_history('0199f3a2-...');
--
-- Rows of the type step_audit. The query is planned once a session, which takes longer than to run it.
-- Runs with the caller's rights. An unknown step gives no rows.

CREATE OR REPLACE FUNCTION get_step_audit_history(p_step_uuid uuid)
RETURNS SETOF step_audit
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    RETURN QUERY
    SELECT a.*
    FROM step_audits AS a
    WHERE a.workflow_step_uuid = p_step_uuid
    ORDER BY a.recorded_at DESC, a.sort_key DESC NULLS LAST, a.workflow_step_result_audit_uuid DESC;
END;
$$;

COMMENT ON FUNCTION get_step_audit_history(uuid) IS
'Audited results of one workflow step, newest first, each with its full result.';
