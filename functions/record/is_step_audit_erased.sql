-- Whether an erasure of this very transaction names a leaf: the guard then lets its payload and salt go.
--
--     SELECT is_step_audit_erased(62);
--
-- A part of reject_audit_change(). Arguments have the exact types, as it runs in what has the owner's
-- rights too.

CREATE OR REPLACE FUNCTION is_step_audit_erased(p_leaf_index bigint)
RETURNS boolean
LANGUAGE sql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
    SELECT EXISTS (
        SELECT FROM step_audit_events AS e
        WHERE
            e.recorded_xid = pg_current_xact_id()::text::bigint
            AND e.kind = 'erased'
            -- An array is in another where all that it holds is.
            AND e.payload @> pg_catalog.jsonb_build_object(
                'leaves', pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_array(p_leaf_index))
            )
    );
$$;

COMMENT ON FUNCTION is_step_audit_erased(bigint) IS
'Whether an erasure of this very transaction names a leaf.';
