-- Creates our triggers on the engine's tables, those that are not there.
--
--     SELECT create_host_triggers('tasker');
--
-- p_schema: the engine's. A part of attach_step_result_audit().

CREATE OR REPLACE FUNCTION create_host_triggers(p_schema text)
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_wanted record;
    v_extension name;
BEGIN
    -- As they were called before a rename of the engine's.
    DELETE FROM step_audit_objects AS o
    WHERE
        o.object_name ~ '^trigger .*[.]trg_step_'
        AND o.object_name <> ALL(
            SELECT format('trigger %s.%s', h.table_oid, h.trigger_name) FROM list_host_triggers(p_schema) AS h
        );
    FOR v_wanted IN
        SELECT
            h.*,
            to_regprocedure(h.function_name || '()') AS function_oid
        FROM list_host_triggers(p_schema) AS h
        WHERE NOT EXISTS (
            SELECT FROM pg_trigger AS t
            WHERE
                t.tgrelid = h.table_oid
                AND t.tgname = h.trigger_name
                AND t.tgfoid = to_regprocedure(h.function_name || '()')
        )
    LOOP
        PERFORM lock_host_tables(p_exclusively => FALSE);
        DELETE FROM step_audit_objects AS o
        WHERE o.object_name = format('trigger %s.%s', v_wanted.table_oid, v_wanted.trigger_name);
        EXECUTE format(
            'CREATE TRIGGER %I %s ON %s FOR EACH %s EXECUTE FUNCTION %I(%s)',
            v_wanted.trigger_name, v_wanted.event, v_wanted.table_oid, v_wanted.level, v_wanted.function_name,
            v_wanted.arguments
        );
        EXECUTE format(
            'COMMENT ON TRIGGER %I ON %s IS %L', v_wanted.trigger_name, v_wanted.table_oid, v_wanted.description
        );

        -- A trigger would keep DROP EXTENSION from dropping its function; so it goes along.
        SELECT e.extname INTO v_extension
        FROM pg_depend AS d
        JOIN pg_extension AS e ON d.refobjid = e.oid
        WHERE d.classid = 'pg_proc'::regclass AND d.objid = v_wanted.function_oid AND d.deptype = 'e';
        IF FOUND THEN
            EXECUTE format(
                'ALTER TRIGGER %I ON %s DEPENDS ON EXTENSION %I', v_wanted.trigger_name, v_wanted.table_oid, v_extension
            );
        END IF;
    END LOOP;
END;
$$;

COMMENT ON FUNCTION create_host_triggers(text) IS
'Creates our triggers on the engine''s tables, those that are not there.';
