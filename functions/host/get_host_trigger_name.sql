-- The name of our trigger on the engine's transitions.
--
--     SELECT get_host_trigger_name('tasker');
--
-- p_schema: the engine's. Where step-audit stands in a schema of its own, the engine may have an audit
-- and a trigger of the specified name, and its migrations may replace them: ours has another one.

CREATE OR REPLACE FUNCTION get_host_trigger_name(p_schema text)
RETURNS name
LANGUAGE sql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
    SELECT CASE p_schema WHEN current_schema() THEN 'trg_step_result_audit' ELSE 'trg_step_audit' END::name;
$$;

COMMENT ON FUNCTION get_host_trigger_name(text) IS
'The name of our trigger on the engine''s transitions, beside the engine''s own audit too.';
