-- Locks the engine's tables for a change of triggers, keys or views, without a queue behind it.
--
--     SELECT lock_host_tables(p_exclusively => FALSE);
--
-- SHARE ROW EXCLUSIVE, which stops writers, or exclusively, which stops readers too.
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
    v_tables text;
    v_patience text := current_setting('lock_timeout');
    v_until timestamptz := clock_timestamp() + nullif(v_patience, '0')::interval;
BEGIN
    SELECT string_agg(get_host_table('tasker_' || t.table_name)::text, ', ') INTO v_tables
    FROM (VALUES ('tasks'), ('workflow_steps'), ('workflow_step_transitions')) AS t (table_name);
    WHILE v_tables IS NOT NULL LOOP
        BEGIN
            PERFORM set_config('lock_timeout', '100ms', TRUE);
            EXECUTE format(
                'LOCK TABLE %s IN %s MODE',
                v_tables,
                CASE WHEN p_exclusively THEN 'ACCESS EXCLUSIVE' ELSE 'SHARE ROW EXCLUSIVE' END
            );
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
'Locks the engine''s tables without making their writers queue; raises when lock_timeout has passed.';
