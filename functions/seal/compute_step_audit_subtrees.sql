-- The roots of full subtrees, computed from what is one height below them.
--
--     SELECT subtree_index, root_hash FROM compute_step_audit_subtrees(1, 0, 4);
--
-- p_height: 1 for subtrees of 256 leaves, 2 of 256 such, and so on. p_first (included) and p_until
-- (not included) are indexes of that height.

CREATE OR REPLACE FUNCTION compute_step_audit_subtrees(p_height integer, p_first bigint, p_until bigint)
RETURNS TABLE (
    subtree_index bigint,
    root_hash bytea
)
LANGUAGE sql
STABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
    SELECT
        below.child_index / 256,
        compute_merkle_root(string_agg(below.child_hash, ''::bytea ORDER BY below.child_index))
    FROM (
        SELECT
            l.leaf_index,
            l.leaf_hash
        FROM step_audit_leaves AS l
        WHERE p_height = 1 AND l.leaf_index >= p_first * 256 AND l.leaf_index < p_until * 256
        UNION ALL
        SELECT
            s.subtree_index,
            s.root_hash
        FROM step_audit_subtrees AS s
        WHERE s.height = p_height - 1 AND s.subtree_index >= p_first * 256 AND s.subtree_index < p_until * 256
    ) AS below (child_index, child_hash)
    GROUP BY below.child_index / 256;
$$;

COMMENT ON FUNCTION compute_step_audit_subtrees(integer, bigint, bigint) IS
'The roots of full subtrees of the log, computed from what is one height below them.';
