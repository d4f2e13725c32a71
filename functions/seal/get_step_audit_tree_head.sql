-- The size and the root of the log: what a checkpoint signs.
--
--     SELECT tree_size, root_hash FROM get_step_audit_tree_head();
--
-- p_tree_size: the log as it was when it had so many leaves; by default as it is. No row where the log
-- is shorter.

CREATE OR REPLACE FUNCTION get_step_audit_tree_head(p_tree_size bigint DEFAULT NULL)
RETURNS TABLE (
    tree_size bigint,
    root_hash bytea
)
LANGUAGE sql
STABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
    SELECT
        wanted.tree_size,
        get_step_audit_tree_root(0, wanted.tree_size)
    FROM (SELECT coalesce(max(s.tree_size), 0) AS tree_size FROM step_audit_seals AS s) AS newest
    CROSS JOIN LATERAL (SELECT coalesce(p_tree_size, newest.tree_size) AS tree_size) AS wanted
    WHERE wanted.tree_size BETWEEN 0 AND newest.tree_size;
$$;

COMMENT ON FUNCTION get_step_audit_tree_head(bigint) IS
'The size and the RFC 6962 root of the log, now or when it had so many leaves.';
