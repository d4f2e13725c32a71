-- Whether results are being audited: one row, and quick, for a probe.
--
--     SELECT attached, trigger_state, problems FROM get_step_audit_health();
--
-- trigger_state: enabled, disabled, replica only (fires for replicated rows alone) or missing.
-- attached: the trigger is there, the engine's tables are shown, and nothing keeps them from being
-- audited. problems: what does, or what of ours is not as attach_step_result_audit() leaves it.

CREATE OR REPLACE FUNCTION get_step_audit_health()
RETURNS TABLE (
    release text,
    attached boolean,
    trigger_state text,
    problems text[]
)
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_table regclass := get_host_table('tasker_workflow_step_transitions');
    v_is_broken boolean;
BEGIN
    SELECT max(f.release) INTO release FROM step_audit_files AS f;
    SELECT
        CASE t.tgenabled
            WHEN 'D' THEN 'disabled'
            WHEN 'R' THEN 'replica only'
            ELSE 'enabled'
        END
    INTO trigger_state
    FROM pg_trigger AS t
    WHERE t.tgrelid = v_table AND t.tgfoid = 'create_step_result_audit()'::regprocedure;
    trigger_state := coalesce(trigger_state, 'missing');

    SELECT array_agg(p.problem ORDER BY p.is_broken DESC, p.problem), coalesce(bool_or(p.is_broken), FALSE)
    INTO problems, v_is_broken
    FROM list_step_audit_problems() AS p;
    attached := trigger_state <> 'missing' AND NOT v_is_broken;
    RETURN NEXT;
END;
$$;

COMMENT ON FUNCTION get_step_audit_health() IS
'Whether results are being audited: release, attachment, trigger, and what is not as it should be.';
