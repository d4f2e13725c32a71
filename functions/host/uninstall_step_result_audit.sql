-- Removes the trigger and all functions of step-audit, itself included, from its schema.
--
--     SELECT uninstall_step_result_audit();
--
-- The audit rows and the sealed log stay, but without guards, so that the engine's rows may go; a
-- later install goes on with them. p_drop_data => true drops them too, and the schema if it was made for
-- step-audit and nothing else is in it. Where step-audit is an extension, DROP EXTENSION is what
-- removes it, after detach_step_result_audit(). Locks as detach_step_result_audit() does.

CREATE OR REPLACE FUNCTION uninstall_step_result_audit(p_drop_data boolean DEFAULT FALSE)
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_schema name := current_schema();
    v_table record;
    v_function regprocedure;
    v_functions text[] := list_step_audit_function_names();
BEGIN
    PERFORM detach_step_result_audit();
    FOR v_table IN SELECT * FROM list_step_audit_tables() AS t LOOP
        IF p_drop_data THEN
            EXECUTE format('DROP TABLE %I', v_table.table_name);
        ELSIF v_table.is_append_only THEN
            EXECUTE format('DROP TRIGGER IF EXISTS trg_append_only ON %I', v_table.table_name);
            EXECUTE format('DROP TRIGGER IF EXISTS trg_append_only_truncate ON %I', v_table.table_name);
        END IF;
    END LOOP;

    -- Ours have a comment; another function of the same name, with other arguments, stays.
    FOR v_function IN
        SELECT p.oid::regprocedure
        FROM pg_proc AS p
        WHERE
            p.pronamespace = quote_ident(v_schema)::regnamespace
            AND p.proname = ANY(v_functions)
            AND obj_description(p.oid, 'pg_proc') IS NOT NULL
    LOOP
        EXECUTE format('DROP ROUTINE %s', v_function);
    END LOOP;

    IF p_drop_data THEN
        DROP TYPE step_audit;
        -- A schema that an install has made has our comment.
        IF obj_description(quote_ident(v_schema)::regnamespace, 'pg_namespace') ~ '^step-audit: ' AND NOT EXISTS (
            SELECT FROM pg_depend AS d
            WHERE
                d.refclassid = 'pg_namespace'::regclass
                AND d.refobjid = quote_ident(v_schema)::regnamespace
        ) THEN
            EXECUTE format('DROP SCHEMA %I', v_schema);
        END IF;
    ELSE
        DELETE FROM step_audit_files AS f WHERE f.path ~ '^functions/';
        DELETE FROM step_audit_objects AS o WHERE o.object_name ~ '^(function|trigger|view|constraint .*[.]fk_)';
    END IF;
END;
$$;

COMMENT ON FUNCTION uninstall_step_result_audit(boolean) IS
'Removes the trigger and all functions of step-audit; the audit rows too where p_drop_data is true.';
