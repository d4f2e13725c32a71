-- Refuses a seal that could leave a record out, or seal what is not the same elsewhere.
--
--     SELECT check_step_audit_seal(1000);
--
-- A part of seal_step_result_audit(). An older snapshot, and another server's transaction ids, would
-- miss records; the order of keys in jsonb is the same in UTF-8 databases only.

CREATE OR REPLACE FUNCTION check_step_audit_seal(p_limit bigint)
RETURNS void
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
BEGIN
    IF p_limit IS NULL OR p_limit < 1 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('the limit must be at least 1, not %s', coalesce(p_limit::text, 'NULL'));
    END IF;
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE invalid_transaction_state USING
            MESSAGE = format('a seal needs READ COMMITTED, this transaction is %s', upper(current_setting('transaction_isolation'))),
            DETAIL = 'Its snapshot may be older than what is to be sealed. Nothing was sealed.',
            HINT = 'Call it in a transaction of its own: BEGIN ISOLATION LEVEL READ COMMITTED.';
    END IF;
    IF current_setting('server_encoding') <> 'UTF8' THEN
        RAISE feature_not_supported USING
            MESSAGE = format('a seal needs a database in UTF8, this one is in %s', current_setting('server_encoding')),
            DETAIL = 'Another encoding orders the keys of jsonb otherwise, so that a restored record would look altered. Nothing was sealed.',
            HINT = 'Dump it and restore it into a database with ENCODING UTF8; the audit works without seals meanwhile.';
    END IF;
    IF EXISTS (
        SELECT FROM pg_subscription_rel AS s
        WHERE s.srrelid IN (SELECT to_regclass(t.table_name) FROM list_step_audit_tables() AS t)
    ) THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = 'a subscription writes the audit here, with the transaction ids of another server',
            DETAIL = 'A seal would leave records out that come later. Nothing was sealed.',
            HINT = 'Seal on the publisher; here once the subscription is dropped.';
    END IF;
END;
$$;

COMMENT ON FUNCTION check_step_audit_seal(bigint) IS
'Refuses a seal outside READ COMMITTED and UTF8, or of what a subscription writes.';
