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
    v_schemas regnamespace[];
    v_schema regnamespace;
    v_context text;
    v_last uuid;
    v_written bigint;
    v_total bigint := 0;
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
            INTO STRICT v_last, v_written
            USING v_last, p_batch_size;
        EXCEPTION
            WHEN lock_not_available THEN v_written := NULL;
        END;
        COMMIT;
        IF v_written IS NOT NULL THEN
            v_total := v_total + v_written;
            EXIT WHEN v_last IS NULL;
        END IF;
        PERFORM pg_catalog.pg_sleep_for(CASE WHEN v_written IS NULL THEN '100 ms' ELSE p_pause END);
    END LOOP;

    RAISE NOTICE 'backfill complete: % audit rows written', v_total;
END;
$$;

COMMENT ON PROCEDURE backfill_step_result_audit (integer, interval) IS
'Audits the worker results recorded before the trigger was there: online, resumable, idempotent.';
