-- Where the transaction ids of this audit table count: the cluster, and the table in its database.
--
--     SELECT get_step_audit_place();
--
-- After pg_dump and restore, or pg_upgrade, the rows are elsewhere, and their transaction ids say
-- nothing about the transactions there. A physical copy is the same place. Another table in the same
-- database was made anew there: by a restore in place, or by somebody.

CREATE OR REPLACE FUNCTION get_step_audit_place()
RETURNS text
LANGUAGE sql
VOLATILE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
    SELECT pg_catalog.format(
        'cluster %s database %s table %s',
        c.system_identifier, d.oid, 'tasker_workflow_step_result_audit'::regclass::oid
    )
    FROM pg_catalog.pg_control_system() AS c
    JOIN pg_catalog.pg_database AS d ON d.datname = current_database();
$$;

COMMENT ON FUNCTION get_step_audit_place() IS
'Where the transaction ids of this audit table count: the cluster, and the table in its database.';
