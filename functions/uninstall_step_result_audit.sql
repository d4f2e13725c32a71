-- Removes the trigger and all functions of step-audit, itself included, from its schema.
--
--     SELECT uninstall_step_result_audit();
--
-- The audit rows stay, in their tables with indexes and foreign keys, and a later install goes on
-- with them; p_drop_data => true drops them too. Where step-audit is an extension, DROP EXTENSION
-- is what removes it. Takes ACCESS EXCLUSIVE on the transitions until the transaction ends.

CREATE OR REPLACE FUNCTION uninstall_step_result_audit(p_drop_data boolean DEFAULT FALSE)
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_schema regnamespace := quote_ident(current_schema())::regnamespace;
    v_function text;
BEGIN
    IF to_regclass('tasker_workflow_step_transitions') IS NOT NULL THEN
        DROP TRIGGER IF EXISTS trg_step_result_audit ON tasker_workflow_step_transitions;
    END IF;

    ALTER TABLE tasker_workflow_step_result_audit
    ALTER COLUMN workflow_step_result_audit_uuid DROP DEFAULT;

    FOR v_function IN
        DELETE FROM step_audit_files
        WHERE path LIKE 'functions/%'
        RETURNING substring(path FROM '([^/]+)[.]sql$')
    LOOP
        EXECUTE format('DROP ROUTINE IF EXISTS %s.%I', v_schema, v_function);
    END LOOP;

    IF p_drop_data THEN
        DROP TABLE
        tasker_workflow_step_result_audit_anomalies, tasker_workflow_step_result_audit, step_audit_files;
    END IF;
END;
$$;

COMMENT ON FUNCTION uninstall_step_result_audit(boolean) IS
'Removes the trigger and all functions of step-audit; the audit rows too where p_drop_data is true.';
