-- Refuses to go on with a log whose newest seal is not where its leaves end.
--
--     SELECT check_step_audit_log_size(1000);
--
-- p_tree_size: what the newest seal says, 0 where there is none. A part of seal_step_result_audit().

CREATE OR REPLACE FUNCTION check_step_audit_log_size(p_tree_size bigint)
RETURNS void
LANGUAGE plpgsql
STABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_leaves bigint;
BEGIN
    SELECT coalesce(max(l.leaf_index) + 1, 0) INTO v_leaves FROM step_audit_leaves AS l;
    IF v_leaves <> p_tree_size THEN
        RAISE data_corrupted USING
            MESSAGE = format('the newest seal says that the log has %s leaves, it has %s', p_tree_size, v_leaves),
            DETAIL = 'Somebody wrote into the log. Nothing was sealed.',
            HINT = 'step-audit verify names what was changed.';
    END IF;
END;
$$;

COMMENT ON FUNCTION check_step_audit_log_size(bigint) IS
'Refuses to go on with a log whose newest seal is not where its leaves end.';
