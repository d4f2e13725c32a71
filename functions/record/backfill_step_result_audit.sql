-- Audits the worker results that were recorded before the trigger was there, while traffic goes on.
--
--     CALL backfill_step_result_audit();
--     CALL backfill_step_result_audit(p_batch_size => 500, p_pause => '100 ms');
--
-- Commits after each batch of p_batch_size transitions, then waits p_pause. It may be stopped or
-- killed at any time: the next run goes on with what is missing. Two at once do no harm. A batch that
-- meets a lock is tried again; after 5 s a WARNING names who may hold it. Results that no audit row can
-- name a task for are passed over, and named at the end. It cannot run inside a transaction block.
-- A procedure that commits may not pin its search_path, so this one holds only the loop, and calls
-- the batch in the schema that it finds itself in.

CREATE OR REPLACE PROCEDURE backfill_step_result_audit(
    p_batch_size integer DEFAULT 5000,
    p_pause interval DEFAULT '0'
)
LANGUAGE plpgsql
AS $$
DECLARE
    v_schemas regnamespace[];
    v_schema regnamespace;
    v_context text;
    v_last uuid;
    v_written bigint;
    v_total bigint := 0;
    v_batch uuid[];
    v_passed_over uuid[] := '{}'::uuid[];
    v_blocked_at timestamptz;
    v_holders text;
BEGIN
    SELECT pg_catalog.array_agg(p.pronamespace::regnamespace) INTO v_schemas
    FROM pg_catalog.pg_proc AS p
    WHERE p.proname = 'backfill_step_result_audit' AND p.prokind = 'p';

    IF pg_catalog.cardinality(v_schemas) > 1 THEN
        -- Which of them this is, the context tells, if the path did not hide it on the first call.
        GET DIAGNOSTICS v_context = PG_CONTEXT;
        SELECT pg_catalog.array_agg(s) INTO v_schemas
        FROM pg_catalog.unnest(v_schemas) AS s
        WHERE pg_catalog.strpos(v_context, ' ' || s::text || '.backfill_step_result_audit(') > 0;
        IF v_schemas IS NULL THEN
            RAISE ambiguous_function USING
                MESSAGE = 'step-audit is installed in several schemas, and which of them is meant is not to be seen',
                HINT = $hint$In a new session, which no pooler shares, SET search_path = '', then CALL the procedure with its schema.$hint$;
        END IF;
    END IF;

    v_schema := v_schemas[1];
    LOOP
        BEGIN
            EXECUTE pg_catalog.format(
                'SELECT * FROM %s.backfill_step_result_audit_batch($1, $2)', v_schema
            )
            INTO STRICT v_last, v_written, v_batch
            USING v_last, p_batch_size;
        EXCEPTION
            WHEN lock_not_available OR deadlock_detected THEN v_written := NULL;
        END;
        COMMIT;
        IF v_written IS NOT NULL THEN
            v_blocked_at := NULL;
            v_total := v_total + v_written;
            v_passed_over := v_passed_over || v_batch;
            EXIT WHEN v_last IS NULL;
        ELSE
            v_blocked_at := coalesce(v_blocked_at, pg_catalog.clock_timestamp());
            IF pg_catalog.clock_timestamp() > v_blocked_at + '5 s'::interval THEN
                EXECUTE pg_catalog.format(
                    'SELECT pg_catalog.string_agg(h.holder, $1) FROM %s.list_lock_holders() AS h', v_schema
                )
                INTO v_holders
                USING '; '::text;
                RAISE WARNING 'the backfill waits for a lock, held by %', coalesce(v_holders, 'a session that has ended');
                v_blocked_at := pg_catalog.clock_timestamp();
            END IF;
        END IF;
        PERFORM pg_catalog.pg_sleep_for(CASE WHEN v_written IS NULL THEN '100 ms' ELSE p_pause END);
    END LOOP;

    IF v_passed_over <> '{}'::uuid[] THEN
        RAISE WARNING '% results were passed over, as their step or task is gone: transitions %',
            pg_catalog.cardinality(v_passed_over), v_passed_over[1:10];
    END IF;
    RAISE NOTICE 'backfill complete: % audit rows written', v_total;
END;
$$;

COMMENT ON PROCEDURE backfill_step_result_audit (integer, interval) IS
'Audits the worker results recorded before the trigger was there: online, resumable, idempotent.';
