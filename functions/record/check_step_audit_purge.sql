-- Refuses a purge that could take what it must not, or that was asked for by mistake.
--
--     SELECT check_step_audit_purge('2025-01-01', 1000);
--
-- A part of purge_step_result_audit_batch().

CREATE OR REPLACE FUNCTION check_step_audit_purge(p_before timestamp, p_batch_size integer)
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
BEGIN
    IF p_batch_size IS NULL OR p_batch_size < 1 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = pg_catalog.format(
                'the batch size must be at least 1, not %s', VARIADIC ARRAY[coalesce(p_batch_size::text, 'NULL')]
            );
    END IF;
    IF p_before IS NULL OR p_before = '-infinity'::timestamp THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'a purge needs a time before which records go; nothing was purged',
            HINT = 'Say as p_before, in UTC, where your retention ends.';
    END IF;
    IF p_before > pg_catalog.timezone('UTC'::text, pg_catalog.clock_timestamp()) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = pg_catalog.format(
                'p_before is in the future: %s; nothing was purged', VARIADIC ARRAY[p_before::text]
            ),
            HINT = 'Say, in UTC, where your retention ends.';
    END IF;
    PERFORM check_retention_isolation();
END;
$$;

COMMENT ON FUNCTION check_step_audit_purge(timestamp, integer) IS
'Refuses a purge that could take what it must not, or that was asked for by mistake.';
