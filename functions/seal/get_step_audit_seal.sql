-- The canonical text of a seal: what a checkpoint signs of it, by its hash.
--
--     SELECT get_step_audit_seal(1000);
--
-- p_tree_size: the seal after which the log has so many leaves; NULL where there is none. A JSON array,
-- as docs/sealing.md tells: the same for any time zone, date style and version of the server.

CREATE OR REPLACE FUNCTION get_step_audit_seal(p_tree_size bigint)
RETURNS text
LANGUAGE sql
STABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
    SELECT json_build_array(
        'step-audit seal 1', s.tree_size, s.sealed_at, s.covered::text, s.place, s.waiting::text
    )::text
    FROM step_audit_seals AS s
    WHERE s.tree_size = p_tree_size;
$$;

COMMENT ON FUNCTION get_step_audit_seal(bigint) IS
'The canonical text of a seal: what a checkpoint signs of it, by its hash.';
