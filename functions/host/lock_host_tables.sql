-- Locks the engine's tables and ours for a change of triggers, keys or views, without a queue behind it.
--
--     SELECT lock_host_tables(p_exclusively => FALSE);
--
-- The engine's SHARE ROW EXCLUSIVE, which stops writers, or exclusively, which stops readers too; NULL:
-- not at all. Ours always exclusively: while a reader of the audit keeps us waiting for one of them, no
-- other lock is held that the engine could wait for.
-- A lock that waits makes all later writers wait behind it, and a lock that waits while it holds
-- another can deadlock with them. So this waits 100 ms at most, gives back what it got and tries
-- again, until lock_timeout has passed; then it raises lock_not_available.

CREATE OR REPLACE FUNCTION lock_host_tables(p_exclusively boolean)
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_ours text;
    v_hosts text;
    v_patience text := current_setting('lock_timeout');
    v_until timestamptz := clock_timestamp() + nullif(v_patience, '0')::interval;
BEGIN
    SELECT string_agg(t.table_name, ', ') INTO v_ours
    FROM list_step_audit_tables() AS t
    WHERE t.is_append_only;
    SELECT string_agg(get_host_table('tasker_' || t.table_name)::text, ', ') INTO v_hosts
    FROM (VALUES ('tasks'), ('workflow_steps'), ('workflow_step_transitions')) AS t (table_name)
    WHERE p_exclusively IS NOT NULL;
    LOOP
        BEGIN
            PERFORM set_config('lock_timeout', '100ms', TRUE);
            EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', v_ours);
            IF v_hosts IS NOT NULL THEN
                EXECUTE format(
                    'LOCK TABLE %s IN %s MODE',
                    v_hosts,
                    CASE WHEN p_exclusively THEN 'ACCESS EXCLUSIVE' ELSE 'SHARE ROW EXCLUSIVE' END
                );
            END IF;
            PERFORM set_config('lock_timeout', v_patience, TRUE);
            RETURN;
        EXCEPTION
            WHEN lock_not_available THEN
                IF clock_timestamp() >= v_until THEN
                    RAISE;
                END IF;
        END;
        PERFORM pg_sleep(0.2);
    END LOOP;
END;
$$;

COMMENT ON FUNCTION lock_host_tables(boolean) IS
'Locks the engine''s tables and ours without making writers queue; raises when lock_timeout has passed.';
