-- Locks the engine's tables for a change of their triggers or foreign keys, without a queue behind it.
--
--     SELECT lock_host_tables('SHARE ROW EXCLUSIVE');
--
-- A lock that waits makes all later writers wait behind it, and a lock that waits while it holds
-- another can deadlock with them. So this waits 100 ms at most, gives back what it got and tries
-- again, until lock_timeout has passed; then it raises lock_not_available.

CREATE OR REPLACE FUNCTION lock_host_tables(p_mode text)
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_patience text := current_setting('lock_timeout');
    v_until timestamptz := clock_timestamp() + nullif(v_patience, '0')::interval;
BEGIN
    LOOP
        BEGIN
            PERFORM set_config('lock_timeout', '100ms', TRUE);
            EXECUTE format(
                'LOCK TABLE tasker_tasks, tasker_workflow_steps, tasker_workflow_step_transitions IN %s MODE',
                p_mode
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

COMMENT ON FUNCTION lock_host_tables(text) IS
'Locks the engine''s tables without making their writers queue; raises when lock_timeout has passed.';
