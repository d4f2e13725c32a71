-- Binds the audit to the workflow engine's tables, and guards its own: foreign keys, triggers, key default.
--
--     SELECT attach_step_result_audit();
--
-- Run by the installer and by CREATE EXTENSION; run it again where the engine's tables came later,
-- for instance after a restore. What is there already is left alone. True when all is attached;
-- false where the engine's tables are missing, with a WARNING, as CREATE EXTENSION hides notices.
-- Adding takes SHARE ROW EXCLUSIVE on the engine's tables until the transaction ends; see
-- lock_host_tables() for how it waits.

CREATE OR REPLACE FUNCTION attach_step_result_audit()
RETURNS boolean
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_schema regnamespace := quote_ident(current_schema())::regnamespace;
    v_audit regclass := format('%s.tasker_workflow_step_result_audit', v_schema)::regclass;
    v_function regprocedure := format('%s.create_step_result_audit()', v_schema)::regprocedure;
    v_key_default text;
    v_missing text;
    v_object record;
    v_extension name;
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_attrdef AS d
        JOIN pg_attribute AS a ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = v_audit AND a.attname = 'workflow_step_result_audit_uuid'
    ) THEN
        -- The server's UUIDv7; else the host's, if only a superuser or we could change it, as it
        -- runs with our rights; else ours.
        SELECT
            CASE
                WHEN to_regprocedure('pg_catalog.uuidv7()') IS NOT NULL THEN 'uuidv7()'
                WHEN EXISTS (
                    SELECT FROM pg_proc AS p
                    JOIN pg_roles AS r ON p.proowner = r.oid
                    WHERE p.oid = to_regprocedure(format('%s.uuid_generate_v7()', v_schema))
                        AND p.prorettype = 'uuid'::regtype
                        AND (r.rolsuper OR r.rolname = current_user)
                ) THEN format('%s.uuid_generate_v7()', v_schema)
                ELSE format('%s.generate_step_audit_uuid()', v_schema)
            END
        INTO v_key_default;
        EXECUTE format(
            'ALTER TABLE %s ALTER COLUMN workflow_step_result_audit_uuid SET DEFAULT %s',
            v_audit, v_key_default
        );
    END IF;

    FOR v_object IN
        SELECT
            o.*,
            t.oid IS NOT NULL AS is_there
        FROM list_step_audit_objects() AS o
        LEFT JOIN pg_trigger AS t
            ON t.tgrelid = to_regclass(quote_ident(o.table_name)) AND t.tgname = o.object_name
        WHERE o.object_name = 'trg_append_only' AND t.tgenabled IS DISTINCT FROM 'A'
    LOOP
        IF v_object.is_there THEN
            EXECUTE format('DROP TRIGGER %I ON %I', v_object.object_name, v_object.table_name);
        END IF;
        EXECUTE format('%s', v_object.definition);
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER %I', v_object.table_name, v_object.object_name);
        EXECUTE format(
            'COMMENT ON TRIGGER %I ON %I IS %L', v_object.object_name, v_object.table_name, v_object.description
        );
    END LOOP;

    SELECT string_agg(missing, ', ') INTO v_missing FROM list_missing_host_objects() AS missing;
    IF v_missing IS NOT NULL THEN
        RAISE WARNING USING
            MESSAGE = format('step-audit is not attached: schema %s lacks %s', v_schema, v_missing),
            HINT = format('Create what is missing, then SELECT %s.attach_step_result_audit();', v_schema);
        RETURN FALSE;
    END IF;

    IF (SELECT h.attached FROM get_step_audit_health() AS h) THEN
        RETURN TRUE;
    END IF;
    PERFORM lock_host_tables(p_exclusively => FALSE);

    FOR v_object IN
        SELECT o.*
        FROM list_step_audit_objects() AS o
        LEFT JOIN pg_constraint AS c ON c.conrelid = v_audit AND c.conname = o.object_name
        WHERE o.kind = 'constraint' AND o.table_name = 'tasker_workflow_step_result_audit' AND c.oid IS NULL
        ORDER BY o.object_name
    LOOP
        EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I %s', v_audit, v_object.object_name, v_object.definition);
        EXECUTE format(
            'COMMENT ON CONSTRAINT %I ON %s IS %L', v_object.object_name, v_audit, v_object.description
        );
    END LOOP;

    FOR v_object IN
        SELECT o.*
        FROM list_step_audit_objects() AS o
        LEFT JOIN pg_trigger AS t
            ON
                t.tgrelid = 'tasker_workflow_step_transitions'::regclass
                AND t.tgname = o.object_name
                AND t.tgfoid = v_function
        WHERE o.object_name = 'trg_step_result_audit' AND t.oid IS NULL
    LOOP
        EXECUTE format('%s', v_object.definition);
        EXECUTE format(
            'COMMENT ON TRIGGER %I ON %I IS %L', v_object.object_name, v_object.table_name, v_object.description
        );

        -- A trigger would keep DROP EXTENSION from dropping its function; so it goes along.
        SELECT e.extname INTO v_extension
        FROM pg_depend AS d
        JOIN pg_extension AS e ON d.refobjid = e.oid
        WHERE d.classid = 'pg_proc'::regclass AND d.objid = v_function AND d.deptype = 'e';
        IF FOUND THEN
            EXECUTE format(
                'ALTER TRIGGER trg_step_result_audit ON tasker_workflow_step_transitions DEPENDS ON EXTENSION %I',
                v_extension
            );
        END IF;
    END LOOP;

    RETURN TRUE;
END;
$$;

COMMENT ON FUNCTION attach_step_result_audit() IS
'Binds the audit to the engine''s tables and guards its own. Idempotent; true when attached.';
