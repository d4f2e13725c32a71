-- Removes the trigger and all functions of step-audit, itself included, from its schema.
--
--     SELECT uninstall_step_result_audit();
--
-- The audit rows and the sealed log stay, but without guards and foreign keys, so that the engine's
-- rows may go; a later install goes on with them. p_drop_data => true drops them too. Where step-audit
-- is an extension, DROP EXTENSION is what removes it. Takes ACCESS EXCLUSIVE on the engine's tables
-- until the transaction ends; see lock_host_tables() for how it waits.

CREATE OR REPLACE FUNCTION uninstall_step_result_audit(p_drop_data boolean DEFAULT FALSE)
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_schema regnamespace := quote_ident(current_schema())::regnamespace;
    v_table text;
    v_function regprocedure;
BEGIN
    IF NOT EXISTS (SELECT FROM list_missing_host_objects()) THEN
        PERFORM lock_host_tables(p_exclusively => TRUE);
        DROP TRIGGER IF EXISTS trg_step_result_audit ON tasker_workflow_step_transitions;
    END IF;

    ALTER TABLE tasker_workflow_step_result_audit
    ALTER COLUMN workflow_step_result_audit_uuid DROP DEFAULT,
    DROP CONSTRAINT IF EXISTS fk_audit_task,
    DROP CONSTRAINT IF EXISTS fk_audit_step,
    DROP CONSTRAINT IF EXISTS fk_audit_transition;

    FOR v_table IN
        SELECT o.table_name
        FROM list_step_audit_objects() AS o
        WHERE o.object_name = 'trg_append_only'
    LOOP
        EXECUTE format('DROP TRIGGER IF EXISTS trg_append_only ON %I', v_table);
    END LOOP;

    -- Ours have a comment; another function of the same name, with other arguments, stays.
    FOR v_function IN
        SELECT p.oid::regprocedure
        FROM step_audit_files AS f
        JOIN pg_proc AS p ON p.proname = substring(f.path, '^functions/.*/(.*)[.]sql$')
        WHERE p.pronamespace = v_schema AND obj_description(p.oid, 'pg_proc') IS NOT NULL
    LOOP
        EXECUTE format('DROP ROUTINE %s', v_function);
    END LOOP;
    DELETE FROM step_audit_files WHERE path LIKE 'functions/%';

    IF p_drop_data THEN
        DROP TABLE
        step_audit_seals, step_audit_subtrees, step_audit_leaves,
        tasker_workflow_step_result_audit_anomalies, tasker_workflow_step_result_audit, step_audit_files;
    END IF;
END;
$$;

COMMENT ON FUNCTION uninstall_step_result_audit(boolean) IS
'Removes the trigger and all functions of step-audit; the audit rows too where p_drop_data is true.';
