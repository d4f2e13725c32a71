-- Erases what is kept of a task, a correlation id or a single result, and keeps that it was sealed.
--
--     CALL erase_step_result_audit(p_task_uuid => '0199f3a2-...', p_reason => 'request 62', p_operator => 'ann');
--
-- list_step_audit_erasures() tells beforehand what that is, and erase_step_audit_transition() what
-- becomes of it. Commits after each transition. It may be stopped or killed at any time: the next run
-- goes on with what is left. A transition that is locked is tried again; after 5 s a WARNING names who may
-- hold it. One that is refused does not stop the others: a WARNING says why, and the call fails at its
-- end. It cannot run inside a transaction block.
-- A procedure that commits may not pin its search_path, so this one holds only the loop, and calls
-- the erasure in the schema that it finds itself in.

CREATE OR REPLACE PROCEDURE erase_step_result_audit(
    p_task_uuid uuid DEFAULT NULL,
    p_correlation_id uuid DEFAULT NULL,
    p_audit_uuid uuid DEFAULT NULL,
    p_reason text DEFAULT NULL,
    p_operator text DEFAULT NULL
)
LANGUAGE plpgsql
AS $$
DECLARE
    v_schemas regnamespace[];
    v_schema regnamespace;
    v_context text;
    v_transition_uuids uuid[];
    v_transition_uuid uuid;
    v_leaves bigint;
    v_erased bigint := 0::bigint;
    v_before bigint := 0::bigint;
    v_refused bigint := 0::bigint;
    v_refusal text;
    v_blocked_at timestamptz;
    v_holders text;
BEGIN
    SELECT pg_catalog.array_agg(p.pronamespace::regnamespace) INTO v_schemas
    FROM pg_catalog.pg_proc AS p
    WHERE p.proname = 'erase_step_result_audit' AND p.prokind = 'p';

    IF pg_catalog.cardinality(v_schemas) > 1 THEN
        -- Which of them this is, the context tells, if the path did not hide it on the first call.
        GET DIAGNOSTICS v_context = PG_CONTEXT;
        SELECT pg_catalog.array_agg(s) INTO v_schemas
        FROM pg_catalog.unnest(v_schemas) AS s
        WHERE pg_catalog.strpos(v_context, ' ' || s::text || '.erase_step_result_audit(') > 0;
        IF v_schemas IS NULL THEN
            RAISE ambiguous_function USING
                MESSAGE = 'step-audit is installed in several schemas, and which of them is meant is not to be seen',
                HINT = $hint$In a new session, which no pooler shares, SET search_path = '', then CALL the procedure with its schema.$hint$;
        END IF;
    END IF;

    v_schema := v_schemas[1];
    EXECUTE pg_catalog.format('SELECT %s.check_retention_reason($1, $2)', v_schema) USING p_reason, p_operator;
    EXECUTE pg_catalog.format(
        'SELECT pg_catalog.array_agg(e.workflow_step_transition_uuid) FROM %s.list_step_audit_erasures($1, $2, $3) AS e',
        v_schema
    )
    INTO v_transition_uuids
    USING p_task_uuid, p_correlation_id, p_audit_uuid;

    FOREACH v_transition_uuid IN ARRAY coalesce(v_transition_uuids, '{}'::uuid[]) LOOP
        v_blocked_at := NULL;
        LOOP
            v_leaves := NULL;
            v_refusal := NULL;
            BEGIN
                EXECUTE pg_catalog.format('SELECT %s.erase_step_audit_transition($1, $2, $3)', v_schema)
                INTO STRICT v_leaves
                USING v_transition_uuid, p_reason, p_operator;
            EXCEPTION
                WHEN lock_not_available OR deadlock_detected THEN NULL;
                WHEN object_not_in_prerequisite_state THEN v_refusal := sqlerrm;
            END;
            COMMIT;
            EXIT WHEN v_leaves IS NOT NULL OR v_refusal IS NOT NULL;
            v_blocked_at := coalesce(v_blocked_at, pg_catalog.clock_timestamp());
            IF pg_catalog.clock_timestamp() > v_blocked_at + '5 s'::interval THEN
                EXECUTE pg_catalog.format(
                    'SELECT pg_catalog.string_agg(h.holder, $1) FROM %s.list_lock_holders() AS h', v_schema
                )
                INTO v_holders
                USING '; '::text;
                RAISE WARNING 'the erasure waits for a lock, held by %', coalesce(v_holders, 'a session that has ended');
                v_blocked_at := pg_catalog.clock_timestamp();
            END IF;
            PERFORM pg_catalog.pg_sleep_for('100 ms'::interval);
        END LOOP;
        IF v_refusal IS NOT NULL THEN
            RAISE WARNING '%', v_refusal;
            v_refused := v_refused + 1;
        ELSIF v_leaves = 0 THEN
            v_before := v_before + 1;
        ELSE
            v_erased := v_erased + 1;
        END IF;
    END LOOP;

    IF v_transition_uuids IS NULL THEN
        RAISE no_data_found USING
            MESSAGE = 'no record is of what is to be erased; nothing was erased',
            HINT = 'Is it of this database?';
    END IF;
    RAISE NOTICE 'erasure complete: % transitions erased, % were erased before', v_erased, v_before;
    IF v_refused > 0 THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = pg_catalog.format('%s transitions were refused, see the warnings; the others are erased', v_refused);
    END IF;
END;
$$;

COMMENT ON PROCEDURE erase_step_result_audit (uuid, uuid, uuid, text, text) IS
'Erases what is kept of a task, a correlation id or a single result, and keeps that it was sealed.';
