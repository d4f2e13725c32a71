-- Who may block the backfill or a purge: older transactions with a lock on the tables that these use.
--
--     SELECT holder FROM list_lock_holders();
--
-- holder: process id, state and since when; of a prepared transaction, which has none, its
-- name. A role that may not see others' sessions (pg_monitor sees all) learns the process id alone.

CREATE OR REPLACE FUNCTION list_lock_holders()
RETURNS TABLE (process_id integer, holder text)
LANGUAGE sql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
    (
        SELECT
            l.pid,
            format('process %s%s%s', l.pid, ' (' || s.state || ')', ', in a transaction since ' || s.xact_start)
        FROM (
            SELECT DISTINCT k.pid
            FROM pg_locks AS k
            WHERE
                k.granted
                AND k.locktype = 'relation'
                AND k.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
                AND k.relation IN (
                    get_host_table('tasker_tasks'), get_host_table('tasker_workflow_steps'),
                    get_host_table('tasker_workflow_step_transitions'), 'tasker_workflow_step_result_audit'::regclass
                )
                -- Readers block nobody.
                AND k.mode <> 'AccessShareLock'
                AND k.pid <> pg_backend_pid()
        ) AS l
        JOIN pg_stat_activity AS s ON l.pid = s.pid
        ORDER BY s.xact_start, l.pid
    )
    UNION ALL
    SELECT
        NULL,
        format('prepared transaction %s, since %s', p.gid, p.prepared)
    FROM pg_prepared_xacts AS p
    WHERE
        p.database = current_database()
        AND EXISTS (
            SELECT FROM pg_locks AS x
            JOIN pg_locks AS k ON x.virtualtransaction = k.virtualtransaction
            WHERE
                x.pid IS NULL
                AND x.transactionid = p.transaction
                AND k.locktype = 'relation'
                AND k.relation = get_host_table('tasker_workflow_step_transitions')
        );
$$;

COMMENT ON FUNCTION list_lock_holders() IS
'Who may block the backfill or a purge: transactions with a lock on the tables that these use, oldest first.';
