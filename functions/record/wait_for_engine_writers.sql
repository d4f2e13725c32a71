-- Waits for the transactions that write the engine's transitions now; gives up after 300 ms.
--
--     SELECT wait_for_engine_writers();
--
-- A part of the purge. Whoever inserts a transition anew whose audit row a purge has deleted, and not
-- committed, waits for it at the unique index. Whoever did so just before does not, and has not committed
-- yet: here he is waited for. It takes no lock, so nobody waits for it, and gives up with
-- lock_not_available.
-- As in the trigger, arguments have the exact types.

CREATE OR REPLACE FUNCTION wait_for_engine_writers()
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_table regclass := get_host_table('tasker_workflow_step_transitions');
    v_tables oid[];
    v_writers text[];
    v_until timestamptz := pg_catalog.clock_timestamp() + '300 ms'::interval;
BEGIN
    SELECT pg_catalog.array_agg(p.relid::oid) INTO v_tables
    FROM pg_catalog.pg_partition_tree(v_table) AS p;
    v_tables := pg_catalog.array_append(v_tables, v_table::oid);

    LOOP
        SELECT pg_catalog.array_agg(k.virtualtransaction) INTO v_writers
        FROM pg_catalog.pg_locks AS k
        WHERE
            k.granted
            AND k.locktype = 'relation'
            AND k.database OPERATOR(pg_catalog.=) (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = current_database())
            AND k.relation OPERATOR(pg_catalog.=) ANY(v_tables)
            -- Who writes has this one, whichever others besides; a VACUUM has not.
            AND k.mode = 'RowExclusiveLock'
            AND k.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
            -- VACUUM brings nothing back, and may last for hours after the engine's clean-up. Others with its
            -- lock may: ATTACH PARTITION does.
            AND NOT (
                k.mode = 'ShareUpdateExclusiveLock'
                AND EXISTS (SELECT FROM pg_catalog.pg_stat_progress_vacuum AS p WHERE p.pid = k.pid)
            )
            AND (v_writers IS NULL OR k.virtualtransaction = ANY(v_writers));
        EXIT WHEN v_writers IS NULL;
        IF pg_catalog.clock_timestamp() > v_until THEN
            RAISE lock_not_available USING
                MESSAGE = 'a transaction that writes the engine''s transitions may bring one of them back';
        END IF;
        PERFORM pg_catalog.pg_sleep(0.005::double precision);
    END LOOP;
END;
$$;

COMMENT ON FUNCTION wait_for_engine_writers() IS
'Waits for the transactions that write the engine''s transitions now; gives up after 300 ms.';
