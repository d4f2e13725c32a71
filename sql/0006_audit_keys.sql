-- 0.1.0: how keys are made: UUIDv7 (RFC 9562, section 5.7), in the order of time.

-- Servers before 18 have no uuidv7(): there it is 48 bits of Unix milliseconds, the version, 12 bits
-- of the millisecond's fraction (section 6.2, method 3), the variant and 62 random bits. The time is
-- a fixed-point number, its low 16 bits the fraction; the digit 7 is put in before them and the last
-- of them falls off. The variant and what is behind it come from a random UUIDv4.
-- A default and not a function of ours: an extension's tables have it right after a restore.
DO $$
DECLARE
    v_key text := CASE
        WHEN to_regprocedure('pg_catalog.uuidv7()') IS NOT NULL THEN 'uuidv7()'
        ELSE
            '(left(overlay(encode(int8send((extract(EPOCH FROM clock_timestamp()) * 65536000::numeric)::bigint), '
            '''hex''), ''7'', 13, 0), 16) || right(gen_random_uuid()::text, 17))::uuid'
    END;
BEGIN
    EXECUTE format(
        'ALTER TABLE tasker_workflow_step_result_audit ALTER workflow_step_result_audit_uuid SET DEFAULT %s', v_key
    );
    EXECUTE format('ALTER TABLE step_audit_events ALTER step_audit_event_uuid SET DEFAULT %s', v_key);
    EXECUTE format('ALTER TABLE step_audit_changes ALTER step_audit_change_uuid SET DEFAULT %s', v_key);
END;
$$;
