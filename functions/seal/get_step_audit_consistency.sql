-- What proves that the log with p_new_size leaves begins with the log as it was with p_old_size: the
-- RFC 6962 consistency proof.
--
--     SELECT get_step_audit_consistency(134, 1000);
--
-- The hashes in the order of the RFC, the lowest first; none where nothing needs to be shown, as the
-- older log is empty or the newer one itself. NULL where the log never had such sizes, one after the
-- other. It costs the square of the log's logarithm, whatever lies between the sizes.

CREATE OR REPLACE FUNCTION get_step_audit_consistency(p_old_size bigint, p_new_size bigint)
RETURNS bytea[]
LANGUAGE plpgsql
STABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_first bigint := 0::bigint;
    v_until bigint := p_new_size;
    v_half bigint := 1::bigint;
    v_path bytea[] := '{}'::bytea[];
BEGIN
    IF
        (p_old_size BETWEEN 0 AND p_new_size) IS NOT TRUE
        OR NOT EXISTS (SELECT FROM get_step_audit_tree_head(p_new_size))
    THEN
        RETURN NULL;
    END IF;
    IF p_old_size = 0 THEN
        RETURN v_path;
    END IF;

    WHILE v_half * 2 < p_new_size LOOP
        v_half := v_half * 2;
    END LOOP;
    -- Down from the root to where the older log ends: what the other half hashes to is part of the
    -- path. The RFC divides a tree at the largest power of two below its size.
    WHILE v_until > p_old_size LOOP
        IF v_half < v_until - v_first THEN
            IF p_old_size <= v_first + v_half THEN
                v_path := get_step_audit_tree_root(v_first + v_half, v_until) || v_path;
                v_until := v_first + v_half;
            ELSE
                v_path := get_step_audit_tree_root(v_first, v_first + v_half) || v_path;
                v_first := v_first + v_half;
            END IF;
        END IF;
        v_half := v_half / 2;
    END LOOP;
    -- The last subtree of the older log; its root is not told where that is the older log itself.
    IF v_first > 0 THEN
        v_path := get_step_audit_tree_root(v_first, v_until) || v_path;
    END IF;
    RETURN v_path;
END;
$$;

COMMENT ON FUNCTION get_step_audit_consistency(bigint, bigint) IS
'What proves that the log with so many leaves begins with an older, shorter log: the RFC 6962 consistency proof.';
