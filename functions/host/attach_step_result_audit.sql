-- Binds the audit to a workflow engine's tables and guards its own: views, keys, triggers, rights.
--
--     SELECT attach_step_result_audit();
--     SELECT attach_step_result_audit('tasker', p_enforce_keys => TRUE);
--
-- p_engine_schema: where the engine's tables are, if there is a choice. p_enforce_keys: see
-- declare_step_audit_keys(); NULL leaves it as it was. Run it after CREATE EXTENSION, after a restore,
-- and after a migration of the engine that detach_step_result_audit() made way for. What is there
-- already is left alone; what is not as it should be is repaired. What cannot be audited is refused
-- with the reason, and nothing is changed. All of ours belongs to the owner of the engine's tables
-- afterwards, so the trigger can do what he can and no more.
-- Adding takes SHARE ROW EXCLUSIVE on the engine's tables until the transaction ends; see
-- lock_host_tables() for how it waits.

CREATE OR REPLACE FUNCTION attach_step_result_audit(
    p_engine_schema text DEFAULT NULL,
    p_enforce_keys boolean DEFAULT NULL
)
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
SET quote_all_identifiers = off
AS $$
DECLARE
    v_role text := current_setting('role');
    v_schema text;
    v_prefix text;
    v_problem record;
    v_owner text;
BEGIN
    SELECT e.schema_name, e.table_prefix INTO v_schema, v_prefix FROM find_workflow_engine(p_engine_schema) AS e;
    FOR v_problem IN
        SELECT * FROM list_host_problems(v_schema, v_prefix) AS p
        WHERE p.is_refused
    LOOP
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = format('cannot attach: %s', v_problem.problem),
            HINT = v_problem.remedy;
    END LOOP;

    SELECT e.table_owner INTO v_owner
    FROM list_workflow_engines() AS e
    WHERE e.schema_name = v_schema AND e.table_prefix = v_prefix;
    IF v_owner <> current_user THEN
        IF NOT pg_has_role(v_owner, 'MEMBER') THEN
            RAISE insufficient_privilege USING
                MESSAGE = format('the engine''s tables belong to %s, and %s is no member of it', v_owner, current_user),
                HINT = format('Connect as %s, as a member of it, or as a superuser.', v_owner);
        END IF;
        PERFORM give_step_audit_to(v_owner);
        PERFORM set_config('role', v_owner, TRUE);
    END IF;

    PERFORM repair_step_audit_rights();
    PERFORM guard_step_audit_tables();
    PERFORM show_host_tables(v_schema, v_prefix);
    PERFORM declare_step_audit_keys(p_enforce_keys);
    PERFORM create_host_triggers(v_schema);
    PERFORM record_step_audit_objects();
    PERFORM set_config('role', v_role, TRUE);
END;
$$;

COMMENT ON FUNCTION attach_step_result_audit(text, boolean) IS
'Binds the audit to the engine''s tables, guards its own, and repairs both. Idempotent; refuses with the reason.';
