-- Keeps holds and purges apart: until the end of the transaction, one purge, or any number of others.
--
--     SELECT lock_step_audit_retention(p_shared => TRUE);
--
-- p_shared: for what must not come between a purge's look at a trail and its end: a hold, its release,
-- an attribution.

CREATE OR REPLACE FUNCTION lock_step_audit_retention(p_shared boolean)
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_key bigint := pg_catalog.hashtextextended('step_audit retention '::text || current_schema()::text, 0::bigint);
BEGIN
    IF p_shared THEN
        PERFORM pg_catalog.pg_advisory_xact_lock_shared(v_key);
    ELSE
        PERFORM pg_catalog.pg_advisory_xact_lock(v_key);
    END IF;
END;
$$;

COMMENT ON FUNCTION lock_step_audit_retention(boolean) IS
'Keeps holds and purges apart until the end of the transaction.';
