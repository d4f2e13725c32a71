-- Whether results are being audited: one row, and quick, for a probe.
--
--     SELECT attached, trigger_state FROM get_step_audit_health();
--
-- trigger_state: enabled, disabled, replica only (fires for replicated rows alone) or missing.
-- attached: trigger and foreign keys are all there.

CREATE OR REPLACE FUNCTION get_step_audit_health()
RETURNS TABLE (
    release text,
    attached boolean,
    trigger_state text,
    missing_host_objects text[]
)
LANGUAGE sql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
    SELECT
        (SELECT max(f.release) FROM step_audit_files AS f),
        found.state <> 'missing' AND found.foreign_keys = 3,
        found.state,
        (SELECT array_agg(o) FROM list_missing_host_objects() AS o)
    FROM (
        SELECT
            coalesce(
                (
                    SELECT
                        CASE t.tgenabled
                            WHEN 'D' THEN 'disabled'
                            WHEN 'R' THEN 'replica only'
                            ELSE 'enabled'
                        END
                    FROM pg_trigger AS t
                    WHERE
                        t.tgrelid = to_regclass('tasker_workflow_step_transitions')
                        AND t.tgname = 'trg_step_result_audit'
                        AND t.tgfoid = 'create_step_result_audit()'::regprocedure
                ),
                'missing'
            ) AS state,
            (
                SELECT count(*)
                FROM pg_constraint AS c
                WHERE
                    c.conrelid = 'tasker_workflow_step_result_audit'::regclass
                    AND c.conname IN ('fk_audit_task', 'fk_audit_step', 'fk_audit_transition')
            ) AS foreign_keys
    ) AS found;
$$;

COMMENT ON FUNCTION get_step_audit_health() IS
'Whether results are being audited: release, attachment, trigger, missing host objects.';
