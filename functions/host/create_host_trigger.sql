-- Creates the trigger on the engine's transitions, unless it is there.
--
--     SELECT create_host_trigger('tasker');
--
-- p_schema: the engine's. A part of attach_step_result_audit().

CREATE OR REPLACE FUNCTION create_host_trigger(p_schema text)
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_table regclass := get_host_table('tasker_workflow_step_transitions');
    v_name name := get_host_trigger_name(p_schema);
    v_function regprocedure := 'create_step_result_audit()'::regprocedure;
    v_extension name;
BEGIN
    -- As the trigger was called before a rename of the engine's.
    DELETE FROM step_audit_objects AS o
    WHERE
        o.object_name ~ '^trigger .*[.]trg_step_(result_)?audit$'
        AND o.object_name <> format('trigger %s.%s', v_table, v_name);
    IF EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = v_table AND t.tgname = v_name AND t.tgfoid = v_function) THEN
        RETURN;
    END IF;
    PERFORM lock_host_tables(p_exclusively => FALSE);
    DELETE FROM step_audit_objects AS o WHERE o.object_name = format('trigger %s.%s', v_table, v_name);
    EXECUTE format(
        'CREATE TRIGGER %I AFTER INSERT ON %s FOR EACH ROW EXECUTE FUNCTION create_step_result_audit()', v_name, v_table
    );
    EXECUTE format('COMMENT ON TRIGGER %I ON %s IS %L', v_name, v_table, 'step-audit: writes the audit row of each worker result.');

    -- A trigger would keep DROP EXTENSION from dropping its function; so it goes along.
    SELECT e.extname INTO v_extension
    FROM pg_depend AS d
    JOIN pg_extension AS e ON d.refobjid = e.oid
    WHERE d.classid = 'pg_proc'::regclass AND d.objid = v_function AND d.deptype = 'e';
    IF FOUND THEN
        EXECUTE format('ALTER TRIGGER %I ON %s DEPENDS ON EXTENSION %I', v_name, v_table, v_extension);
    END IF;
END;
$$;

COMMENT ON FUNCTION create_host_trigger(text) IS
'Creates the trigger on the engine''s transitions, unless it is there.';
