-- Purges what retention no longer asks for: trails that the engine has deleted, sealed, not held.
--
--     CALL purge_step_result_audit('2019-01-01', '7 years are over', 'ann');
--     CALL purge_step_result_audit('2019-01-01', 'how many?', p_dry_run => TRUE);
--
-- Commits after each batch. It may be stopped or killed at any time: the next run goes on with what is
-- left. Two at once do no harm. A batch that meets a lock, or a transaction that writes the engine's
-- transitions and does not end, is tried again; after 5 s a WARNING names who that may be. What is not as
-- it was sealed stays, and a WARNING names it. It ends with how many audit rows, changes and events went,
-- and how many trails stay. It cannot run inside a transaction block. See purge_step_result_audit_batch().
-- A procedure that commits may not pin its search_path, so this one holds only the loop, and calls
-- the batch in the schema that it finds itself in.

CREATE OR REPLACE PROCEDURE purge_step_result_audit(
    p_before timestamp,
    p_reason text,
    p_operator text DEFAULT NULL,
    p_batch_size integer DEFAULT 1000,
    p_dry_run boolean DEFAULT FALSE
)
LANGUAGE plpgsql
AS $$
DECLARE
    v_schemas regnamespace[];
    v_schema regnamespace;
    v_context text;
    v_phase text := 'records';
    v_after_recorded_at timestamp;
    v_after_key uuid;
    v_size integer := p_batch_size;
    v_counts bigint[];
    v_altered_leaves bigint[];
    v_altered bigint := 0::bigint;
    v_totals bigint[] := '{0,0,0,0,0,0,0}'::bigint[];
    v_blocked_at timestamptz;
    v_holders text;
BEGIN
    SELECT pg_catalog.array_agg(p.pronamespace::regnamespace) INTO v_schemas
    FROM pg_catalog.pg_proc AS p
    WHERE p.proname = 'purge_step_result_audit' AND p.prokind = 'p';

    IF pg_catalog.cardinality(v_schemas) > 1 THEN
        -- Which of them this is, the context tells, if the path did not hide it on the first call.
        GET DIAGNOSTICS v_context = PG_CONTEXT;
        SELECT pg_catalog.array_agg(s) INTO v_schemas
        FROM pg_catalog.unnest(v_schemas) AS s
        WHERE pg_catalog.strpos(v_context, ' ' || s::text || '.purge_step_result_audit(') > 0;
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
                'SELECT b.next_phase, b.next_recorded_at, b.next_key, b.next_batch_size, ARRAY[b.records, b.changes, '
                'b.events, b.kept_by_engine, b.kept_by_hold, b.kept_unsealed, b.kept_younger], b.altered_leaves '
                'FROM %s.purge_step_result_audit_batch($1, $2, $3, $4, $5, $6, $7, $8) AS b',
                v_schema
            )
            INTO STRICT v_phase, v_after_recorded_at, v_after_key, v_size, v_counts, v_altered_leaves
            USING p_before, p_reason, p_operator, v_size, p_dry_run, v_phase, v_after_recorded_at, v_after_key;
        EXCEPTION
            WHEN lock_not_available OR deadlock_detected THEN v_counts := NULL;
        END;
        COMMIT;
        IF v_counts IS NOT NULL THEN
            v_blocked_at := NULL;
            v_size := least(v_size, p_batch_size);
            IF v_altered_leaves <> '{}'::bigint[] THEN
                v_altered := v_altered + pg_catalog.cardinality(v_altered_leaves);
                RAISE WARNING USING
                    MESSAGE = pg_catalog.format(
                        '%s trails are not as they were sealed, and stay: those of the leaves %s',
                        pg_catalog.cardinality(v_altered_leaves), pg_catalog.array_to_string(v_altered_leaves, ', ')
                    ),
                    HINT = 'step-audit verify says what was altered.';
            END IF;
            SELECT pg_catalog.array_agg(c.done + c.total ORDER BY c.place) INTO v_totals
            FROM ROWS FROM (pg_catalog.unnest(v_counts), pg_catalog.unnest(v_totals)) WITH ORDINALITY
                AS c (done, total, place);
            EXIT WHEN v_phase IS NULL;
        ELSE
            v_blocked_at := coalesce(v_blocked_at, pg_catalog.clock_timestamp());
            IF pg_catalog.clock_timestamp() > v_blocked_at + '5 s'::interval THEN
                EXECUTE pg_catalog.format(
                    'SELECT pg_catalog.string_agg(h.holder, $1) FROM %s.list_lock_holders() AS h', v_schema
                )
                INTO v_holders
                USING '; '::text;
                RAISE WARNING 'the purge waits for a transaction: %', coalesce(v_holders, 'one that has ended');
                v_blocked_at := pg_catalog.clock_timestamp();
            END IF;
            PERFORM pg_catalog.pg_sleep_for('100 ms');
        END IF;
    END LOOP;

    RAISE NOTICE USING
        MESSAGE = pg_catalog.format(
            'purge %s: %s audit rows, %s changes, %s events',
            CASE WHEN p_dry_run THEN 'would take' ELSE 'complete' END, v_totals[1], v_totals[2], v_totals[3]
        ),
        DETAIL = pg_catalog.format(
            'Trails that stay: %s stand in the engine, %s are held, %s are not sealed, %s have something younger, '
            '%s are not as they were sealed.',
            v_totals[4], v_totals[5], v_totals[6], v_totals[7], v_altered
        );
END;
$$;

COMMENT ON PROCEDURE purge_step_result_audit (timestamp, text, text, integer, boolean) IS
'Purges trails that the engine has deleted, sealed and not held, batch by batch: online, resumable.';
