-- The RFC 6962 hash of a leaf, given as its canonical text.
--
--     SELECT hash_step_audit_leaf('["step-audit 2", "event", 0]');
--
-- Without a SET clause, so that the planner inlines it; all that it calls is pg_catalog's.

CREATE OR REPLACE FUNCTION hash_step_audit_leaf(p_leaf text)
RETURNS bytea
LANGUAGE sql
STABLE
PARALLEL SAFE
AS $$
    SELECT pg_catalog.sha256(
        E'\\x00'::bytea OPERATOR(pg_catalog.||) pg_catalog.convert_to(p_leaf, 'UTF8'::name)
    );
$$;

COMMENT ON FUNCTION hash_step_audit_leaf(text) IS
'The RFC 6962 hash of a leaf, given as its canonical text.';
