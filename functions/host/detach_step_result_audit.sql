-- Takes the audit off the engine's tables: triggers, keys and views go; audit rows and functions stay.
--
--     SELECT detach_step_result_audit();
--
-- For a migration of the engine that one of these would refuse: DROP or TRUNCATE of a table that a key
-- names, ALTER TYPE of a column that a view shows. Results are not audited meanwhile. Afterwards call
-- attach_step_result_audit(), then the backfill. Takes ACCESS EXCLUSIVE on the engine's tables until
-- the transaction ends; see lock_host_tables() for how it waits.

CREATE OR REPLACE FUNCTION detach_step_result_audit()
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
SET quote_all_identifiers = off
AS $$
DECLARE
    v_trigger record;
BEGIN
    PERFORM lock_host_tables(p_exclusively => TRUE);
    FOR v_trigger IN
        SELECT
            t.tgname,
            t.tgrelid::regclass AS table_oid
        FROM pg_trigger AS t
        JOIN pg_proc AS p ON t.tgfoid = p.oid
        WHERE
            p.pronamespace = quote_ident(current_schema())::regnamespace
            AND p.proname IN (
                'create_step_result_audit', 'record_step_audit_change', 'record_step_audit_truncate', 'record_deleted_step'
            )
            AND t.tgparentid = 0
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', v_trigger.tgname, v_trigger.table_oid);
    END LOOP;
    ALTER TABLE tasker_workflow_step_result_audit
    DROP CONSTRAINT IF EXISTS fk_audit_task,
    DROP CONSTRAINT IF EXISTS fk_audit_step,
    DROP CONSTRAINT IF EXISTS fk_audit_transition;
    PERFORM hide_host_tables();
END;
$$;

COMMENT ON FUNCTION detach_step_result_audit() IS
'Takes the audit off the engine''s tables, for a migration of the engine; audit rows and functions stay.';
