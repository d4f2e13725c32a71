-- Refuses a purge or an erasure whose snapshot may be older than the lock that keeps holds away.
--
--     SELECT check_retention_isolation();
--
-- An older snapshot would not show the holds of others.
-- As in the trigger, arguments have the exact types.

CREATE OR REPLACE FUNCTION check_retention_isolation()
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
BEGIN
    IF current_setting('transaction_isolation'::text) NOT IN ('read committed', 'read uncommitted') THEN
        RAISE invalid_transaction_state USING
            MESSAGE = pg_catalog.format(
                'a purge or an erasure needs READ COMMITTED, this transaction is %s',
                VARIADIC ARRAY[pg_catalog.upper(current_setting('transaction_isolation'::text))]
            ),
            DETAIL = 'Its snapshot may be older than a hold. Nothing was written.',
            HINT = 'SET default_transaction_isolation = ''read committed'' for the role that purges or erases.';
    END IF;
END;
$$;

COMMENT ON FUNCTION check_retention_isolation() IS
'Refuses a purge or an erasure whose snapshot may be older than a hold.';
