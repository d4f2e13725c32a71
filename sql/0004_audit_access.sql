-- 0.1.0: who may touch the tables, and that pg_dump keeps their rows.

-- pg_dump leaves out the rows of an extension's tables unless told otherwise.
DO $$
DECLARE
    v_table regclass;
BEGIN
    FOR v_table IN
        SELECT d.objid::regclass
        FROM pg_depend AS d
        WHERE d.classid = 'pg_class'::regclass
            AND d.deptype = 'e'
            AND d.objid IN (
                'tasker_workflow_step_result_audit'::regclass,
                'tasker_workflow_step_result_audit_anomalies'::regclass,
                'step_audit_leaves'::regclass,
                'step_audit_subtrees'::regclass,
                'step_audit_seals'::regclass
            )
    LOOP
        PERFORM pg_extension_config_dump(v_table, '');
    END LOOP;
END;
$$;

-- The schema's default privileges may have granted rights on new tables. Here nobody but the owner
-- begins with any.
DO $$
DECLARE
    v_grant record;
BEGIN
    FOR v_grant IN
        SELECT DISTINCT
            c.oid::regclass AS table_name,
            CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS grantee
        FROM pg_class AS c, aclexplode(c.relacl) AS a
        WHERE
            a.grantee <> c.relowner
            AND c.oid IN (
                'tasker_workflow_step_result_audit'::regclass,
                'tasker_workflow_step_result_audit_anomalies'::regclass,
                'step_audit_leaves'::regclass,
                'step_audit_subtrees'::regclass,
                'step_audit_seals'::regclass,
                'step_audit_files'::regclass
            )
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s', v_grant.table_name, v_grant.grantee);
    END LOOP;
END;
$$;
