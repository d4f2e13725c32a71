-- Binds the audit to the workflow engine's tables: foreign keys, trigger and the key's default.
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
    v_reference record;
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

    FOR v_reference IN
        SELECT r.*
        FROM (
            VALUES
            (1, 'fk_audit_task', 'task_uuid', 'tasker_tasks', 'An audit row names an existing task.'),
            (2, 'fk_audit_step', 'workflow_step_uuid', 'tasker_workflow_steps', 'An audit row names an existing step.'),
            (
                3, 'fk_audit_transition', 'workflow_step_transition_uuid', 'tasker_workflow_step_transitions',
                'An audit row names an existing transition.'
            )
        ) AS r (place, constraint_name, column_name, table_name, description)
        WHERE NOT EXISTS (
            SELECT FROM pg_constraint AS c
            WHERE c.conrelid = v_audit AND c.conname = r.constraint_name
        )
        ORDER BY r.place
    LOOP
        EXECUTE format(
            'ALTER TABLE %1$s ADD CONSTRAINT %2$I FOREIGN KEY (%3$I) REFERENCES %4$s.%5$I (%3$I)',
            v_audit, v_reference.constraint_name, v_reference.column_name, v_schema, v_reference.table_name
        );
        EXECUTE format(
            'COMMENT ON CONSTRAINT %I ON %s IS %L',
            v_reference.constraint_name, v_audit, v_reference.description
        );
    END LOOP;

    IF NOT EXISTS (
        SELECT FROM pg_trigger AS t
        WHERE t.tgrelid = 'tasker_workflow_step_transitions'::regclass
            AND t.tgname = 'trg_step_result_audit'
            AND t.tgfoid = v_function
    ) THEN
        CREATE TRIGGER trg_step_result_audit
        AFTER INSERT ON tasker_workflow_step_transitions
        FOR EACH ROW
        EXECUTE FUNCTION create_step_result_audit();

        COMMENT ON TRIGGER trg_step_result_audit ON tasker_workflow_step_transitions IS
        'step-audit: writes the audit row of each worker result.';

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
    END IF;

    RETURN TRUE;
END;
$$;

COMMENT ON FUNCTION attach_step_result_audit() IS
'Binds the audit to the engine''s tables: foreign keys, trigger, key default. Idempotent; true when attached.';
