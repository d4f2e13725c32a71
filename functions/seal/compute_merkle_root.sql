-- The RFC 6962 Merkle tree hash over hashes that stand one after the other, 32 bytes each.
--
--     SELECT compute_merkle_root(string_agg(leaf_hash, '' ORDER BY leaf_index)) FROM step_audit_leaves;
--
-- Pairs are hashed, the last one without a partner goes up as it is, until one is left. That of no
-- hashes is the hash of nothing.

CREATE OR REPLACE FUNCTION compute_merkle_root(p_hashes bytea)
RETURNS bytea
LANGUAGE plpgsql
IMMUTABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_hashes bytea := coalesce(p_hashes, ''::bytea);
BEGIN
    IF length(v_hashes) = 0 THEN
        RETURN sha256(''::bytea);
    END IF;
    WHILE length(v_hashes) > 32 LOOP
        SELECT
            string_agg(
                CASE length(pair.hashes)
                    WHEN 64 THEN sha256(E'\\x01'::bytea || pair.hashes)
                    ELSE pair.hashes
                END,
                ''::bytea ORDER BY pair.first_byte
            )
        INTO v_hashes
        FROM (
            SELECT
                n AS first_byte,
                substring(v_hashes FROM n FOR 64) AS hashes
            FROM generate_series(1, length(v_hashes), 64) AS n
        ) AS pair;
    END LOOP;
    RETURN v_hashes;
END;
$$;

COMMENT ON FUNCTION compute_merkle_root(bytea) IS
'The RFC 6962 Merkle tree hash over hashes of 32 bytes that stand one after the other.';
