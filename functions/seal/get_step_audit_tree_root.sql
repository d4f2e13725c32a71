-- The RFC 6962 Merkle tree hash of a range of the log's leaves, from what the log has stored.
--
--     SELECT get_step_audit_tree_root(0, 1000);
--
-- p_first (included) and p_until (not included) are leaf indexes of a range that the RFC's recursion
-- asks for: the whole log up to a size, or a part of a path. Full subtrees are not opened, so it
-- costs the logarithm of the range.

CREATE OR REPLACE FUNCTION get_step_audit_tree_root(p_first bigint, p_until bigint)
RETURNS bytea
LANGUAGE plpgsql
STABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_height integer := 0;
    v_first bigint := p_first;
    v_until bigint := p_until;
    v_start bigint;
    v_hashes bytea;
    v_tail bytea := ''::bytea;
BEGIN
    LOOP
        -- Up to 256 are hashed here; of more, those that do not fill a subtree of the next level.
        v_start := CASE WHEN v_until - v_first > 256 THEN v_until / 256 * 256 ELSE v_first END;
        IF v_height = 0 THEN
            SELECT string_agg(l.leaf_hash, '' ORDER BY l.leaf_index) INTO v_hashes
            FROM step_audit_leaves AS l
            WHERE l.leaf_index >= v_start AND l.leaf_index < v_until;
        ELSE
            SELECT string_agg(s.root_hash, '' ORDER BY s.subtree_index) INTO v_hashes
            FROM step_audit_subtrees AS s
            WHERE s.height = v_height AND s.subtree_index >= v_start AND s.subtree_index < v_until;
        END IF;
        v_hashes := coalesce(v_hashes, '') || v_tail;

        IF v_start = v_first THEN
            RETURN compute_merkle_root(v_hashes);
        END IF;
        v_tail := CASE WHEN v_hashes <> '' THEN compute_merkle_root(v_hashes) ELSE ''::bytea END;
        v_first := v_first / 256;
        v_until := v_until / 256;
        v_height := v_height + 1;
    END LOOP;
END;
$$;

COMMENT ON FUNCTION get_step_audit_tree_root(bigint, bigint) IS
'The RFC 6962 Merkle tree hash of a range of the log''s leaves, from what the log has stored.';
