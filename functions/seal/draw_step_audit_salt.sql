-- The salt of a leaf, drawn from a secret that is kept nowhere.
--
--     SELECT draw_step_audit_salt(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()), 0);
--
-- To draw each by itself would cost five times as much. Without a SET clause, so that the planner
-- inlines it; all that it calls is pg_catalog's.

CREATE OR REPLACE FUNCTION draw_step_audit_salt(p_secret bytea, p_leaf_index bigint)
RETURNS bytea
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
AS $$
    SELECT pg_catalog.substring(
        pg_catalog.sha256(p_secret OPERATOR(pg_catalog.||) pg_catalog.int8send(p_leaf_index)), 1, 16
    );
$$;

COMMENT ON FUNCTION draw_step_audit_salt(bytea, bigint) IS
'The salt of a leaf, drawn from a secret that is kept nowhere.';
