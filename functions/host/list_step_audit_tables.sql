-- The tables of step-audit.
--
--     SELECT table_name, is_append_only FROM list_step_audit_tables();
--
-- is_append_only: evidence, which a guard protects; the others are the ledger of the install.

CREATE OR REPLACE FUNCTION list_step_audit_tables()
RETURNS TABLE (table_name text, is_append_only boolean)
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
    VALUES
    ('tasker_workflow_step_result_audit', TRUE),
    ('tasker_workflow_step_result_audit_anomalies', TRUE),
    ('step_audit_changes', TRUE),
    ('step_audit_deleted_steps', TRUE),
    ('step_audit_events', TRUE),
    ('step_audit_leaves', TRUE),
    ('step_audit_salts', TRUE),
    ('step_audit_subtrees', TRUE),
    ('step_audit_seals', TRUE),
    ('step_audit_files', FALSE),
    ('step_audit_objects', FALSE);
$$;

COMMENT ON FUNCTION list_step_audit_tables() IS
'The tables of step-audit, and which of them are append-only.';
