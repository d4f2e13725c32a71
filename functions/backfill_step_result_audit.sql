-- Audits the worker results that were recorded before the trigger was there, while traffic goes on.
--
--     CALL backfill_step_result_audit();
--     CALL backfill_step_result_audit(p_batch_size => 500, p_pause => '100 ms');
--
-- Commits after each batch of p_batch_size transitions, then waits p_pause. It may be stopped or
-- killed at any time: the next run goes on with what is missing. Two at once do no harm. It cannot
-- run inside a transaction block. A procedure that commits may not pin its search_path, so this one
-- holds only the loop, and calls the batch in the schema that it finds itself in.

CREATE OR REPLACE PROCEDURE backfill_step_result_audit(
    p_batch_size integer DEFAULT 5000,
    p_pause interval DEFAULT '0'
)
LANGUAGE plpgsql
AS $$
DECLARE
    v_context text;
    v_schema regnamespace;
    v_last uuid;
    v_written bigint;
    v_total bigint := 0;
BEGIN
    -- The context names this procedure first, with its schema unless that is in the search_path.
    GET DIAGNOSTICS v_context = PG_CONTEXT;
    SELECT p.pronamespace::regnamespace INTO v_schema
    FROM pg_catalog.pg_proc AS p
    WHERE p.oid = pg_catalog.substring(
        v_context,
        '((?:(?:"(?:[^"]|"")+"|[a-z_][a-z0-9_]*)[.])?backfill_step_result_audit[(][a-z, ]*[)])'
    )::regprocedure;

    LOOP
        EXECUTE pg_catalog.format('SELECT * FROM %s.backfill_step_result_audit_batch($1, $2)', v_schema)
        INTO v_last, v_written
        USING v_last, p_batch_size;
        COMMIT;
        v_total := v_total + v_written;
        EXIT WHEN v_last IS NULL;
        PERFORM pg_catalog.pg_sleep_for(p_pause);
    END LOOP;

    RAISE NOTICE 'backfill complete: % audit rows written', v_total;
END;
$$;

COMMENT ON PROCEDURE backfill_step_result_audit (integer, interval) IS
'Audits the worker results recorded before the trigger was there: online, resumable, idempotent.';
