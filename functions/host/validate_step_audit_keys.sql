-- Validates the enforced keys that were added NOT VALID: no writer waits, but kept rows are checked.
--
--     SELECT key_name, fault FROM validate_step_audit_keys();
--
-- One row for each key that kept audit rows violate, as what they name is gone; it stays NOT VALID and
-- holds for new rows. Call it in a transaction of its own, after attach_step_result_audit().

CREATE OR REPLACE FUNCTION validate_step_audit_keys()
RETURNS TABLE (key_name text, fault text)
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
BEGIN
    FOR key_name IN
        SELECT c.conname::text
        FROM pg_constraint AS c
        WHERE
            c.conrelid = 'tasker_workflow_step_result_audit'::regclass
            AND c.contype = 'f'
            AND NOT c.convalidated
            AND pg_get_constraintdef(c.oid) !~ 'NOT ENFORCED'
        ORDER BY c.conname
    LOOP
        BEGIN
            EXECUTE format('ALTER TABLE tasker_workflow_step_result_audit VALIDATE CONSTRAINT %I', key_name);
        EXCEPTION
            WHEN foreign_key_violation THEN
                GET STACKED DIAGNOSTICS fault = PG_EXCEPTION_DETAIL;
                RETURN NEXT;
        END;
    END LOOP;
END;
$$;

COMMENT ON FUNCTION validate_step_audit_keys() IS
'Validates the enforced keys that were added NOT VALID; names those that kept audit rows violate.';
