-- What proves that an audit row is in the log: its leaf, and the RFC 6962 inclusion path.
--
--     SELECT leaf_index, leaf, path FROM get_step_audit_proof('0199f3a2-0000-7000-8000-000000000062', 1000);
--
-- p_tree_size: the size of the log whose root the path leads to. No row where the audit row is not
-- sealed, or only later. leaf, and what it commits to (salt, recorded_by, payload), are as they are now;
-- whether they are as they were sealed, the path tells.

CREATE OR REPLACE FUNCTION get_step_audit_proof(p_audit_uuid uuid, p_tree_size bigint)
RETURNS TABLE (
    leaf_index bigint,
    leaf text,
    salt bytea,
    recorded_by text,
    payload text,
    path bytea[]
)
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_first bigint := 0::bigint;
    v_until bigint := p_tree_size;
    v_half bigint := 1::bigint;
BEGIN
    SELECT l.leaf_index INTO leaf_index
    FROM step_audit_leaves AS l
    WHERE
        l.record_uuid = p_audit_uuid
        AND l.leaf_index < p_tree_size
        AND EXISTS (SELECT FROM get_step_audit_tree_head(p_tree_size));
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT l.leaf, l.salt, l.recorded_by, l.payload INTO leaf, salt, recorded_by, payload
    FROM list_step_audit_leaves(leaf_index, leaf_index + 1) AS l;

    WHILE v_half * 2 < p_tree_size LOOP
        v_half := v_half * 2;
    END LOOP;
    -- Down from the root to the leaf: what the other half hashes to is part of the path. The RFC
    -- divides a tree at the largest power of two below its size.
    path := '{}';
    WHILE v_until - v_first > 1 LOOP
        IF v_half < v_until - v_first THEN
            IF leaf_index < v_first + v_half THEN
                path := get_step_audit_tree_root(v_first + v_half, v_until) || path;
                v_until := v_first + v_half;
            ELSE
                path := get_step_audit_tree_root(v_first, v_first + v_half) || path;
                v_first := v_first + v_half;
            END IF;
        END IF;
        v_half := v_half / 2;
    END LOOP;
    RETURN NEXT;
END;
$$;

COMMENT ON FUNCTION get_step_audit_proof(uuid, bigint) IS
'What proves that an audit row is in the log: its leaf, and the RFC 6962 inclusion path.';
