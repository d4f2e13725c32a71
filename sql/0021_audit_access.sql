-- 0.1.0: who may touch the tables, and that pg_dump keeps their rows.

DO $$
DECLARE
    v_table regclass;
    v_grantee text;
BEGIN
    FOREACH v_table IN ARRAY '{
        tasker_workflow_step_result_audit, tasker_workflow_step_result_audit_anomalies,
        step_audit_events, step_audit_changes, step_audit_deleted_steps, step_audit_leaves, step_audit_salts, step_audit_subtrees, step_audit_seals,
        step_audit_files, step_audit_objects
    }'::regclass[]
    LOOP
        -- The schema's default privileges may have granted rights on new tables. Here nobody but the
        -- owner begins with any.
        FOR v_grantee IN
            SELECT DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
            FROM pg_class AS c, aclexplode(c.relacl) AS a
            WHERE c.oid = v_table AND a.grantee <> c.relowner
        LOOP
            EXECUTE format('REVOKE ALL ON %s FROM %s', v_table, v_grantee);
        END LOOP;

        -- pg_dump leaves out the rows of an extension's tables unless told otherwise. The ledger is
        -- written by CREATE EXTENSION itself.
        IF v_table NOT IN ('step_audit_files'::regclass, 'step_audit_objects'::regclass) AND EXISTS (
            SELECT FROM pg_depend AS d
            WHERE d.classid = 'pg_class'::regclass AND d.objid = v_table AND d.deptype = 'e'
        ) THEN
            PERFORM pg_extension_config_dump(v_table, '');
        END IF;
    END LOOP;
END;
$$;
