-- What in a range of the sealed log is not as it was sealed; no rows: all is.
--
--     SELECT finding, workflow_step_result_audit_uuid, field FROM verify_step_audit_log(0, 65536);
--
-- p_first (included) and p_until (not included) are leaf indexes; a long log is verified range by
-- range. It computes each leaf anew from the audit row and its transition, and each subtree that ends
-- in the range from what is below it. finding: altered record, deleted record, missing leaf, altered
-- log. That the log itself was not written anew, only a checkpoint that is kept elsewhere can tell.

CREATE OR REPLACE FUNCTION verify_step_audit_log(p_first bigint, p_until bigint)
RETURNS TABLE (
    finding text,
    workflow_step_result_audit_uuid uuid,
    field text,
    stored text,
    expected text
)
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
SET row_security = off
AS $$
DECLARE
    v_width bigint := 256::bigint;
BEGIN
    RETURN QUERY
    SELECT
        CASE
            WHEN l.leaf_index IS NULL THEN 'missing leaf'
            WHEN l.leaf IS NULL THEN 'deleted record'
            ELSE 'altered record'
        END,
        l.record_uuid,
        'leaf ' || n.leaf_index,
        encode(l.computed, 'hex'),
        encode(l.leaf_hash, 'hex')
    FROM generate_series(p_first, p_until - 1) AS n (leaf_index)
    LEFT JOIN (
        SELECT
            r.*,
            sha256(E'\\x00'::bytea || convert_to(r.leaf, 'UTF8')) AS computed
        FROM list_step_audit_leaves(p_first, p_until) AS r
    ) AS l ON n.leaf_index = l.leaf_index
    WHERE l.leaf_hash IS DISTINCT FROM l.computed OR l.computed IS NULL
    ORDER BY n.leaf_index;

    FOR v_height IN 1..7 LOOP
        EXIT WHEN p_until < v_width;
        RETURN QUERY
        SELECT
            'altered log',
            NULL::uuid,
            format(
                'subtree %s of leaves %s to %s',
                n.subtree_index, n.subtree_index * v_width, (n.subtree_index + 1) * v_width - 1
            ),
            encode(s.root_hash, 'hex'),
            encode(c.root_hash, 'hex')
        FROM generate_series(p_first / v_width, p_until / v_width - 1) AS n (subtree_index)
        LEFT JOIN step_audit_subtrees AS s ON s.height = v_height AND n.subtree_index = s.subtree_index
        LEFT JOIN compute_step_audit_subtrees(v_height, p_first / v_width, p_until / v_width) AS c
            ON n.subtree_index = c.subtree_index
        WHERE s.root_hash IS DISTINCT FROM c.root_hash
        ORDER BY n.subtree_index;
        v_width := v_width * 256;
    END LOOP;
END;
$$;

COMMENT ON FUNCTION verify_step_audit_log(bigint, bigint) IS
'What in a range of the sealed log is not as it was sealed.';
