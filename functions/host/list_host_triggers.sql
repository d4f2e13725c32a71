-- The triggers that step-audit has on the engine's tables when it is attached.
--
--     SELECT table_oid, trigger_name, event FROM list_host_triggers('tasker');
--
-- p_schema: the engine's. event: what stands between the names of trigger and table in CREATE TRIGGER;
-- call: the function and its arguments. A statement's trigger stands on each partition, as one on a
-- partitioned table does not fire where a partition is truncated alone.

CREATE OR REPLACE FUNCTION list_host_triggers(p_schema text)
RETURNS TABLE (
    table_oid regclass,
    trigger_name name,
    event text,
    level text,
    function_name text,
    arguments text,
    description text
)
LANGUAGE sql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
    WITH RECURSIVE host AS (
        SELECT
            get_host_table('tasker_workflow_step_transitions') AS transitions,
            get_host_table('tasker_workflow_steps') AS steps
    ),

    members AS (
        SELECT
            c.oid,
            c.relkind,
            h.argument
        FROM host
        CROSS JOIN LATERAL (VALUES (host.transitions, 'transitions'), (host.steps, 'steps')) AS h (table_oid, argument)
        JOIN pg_class AS c ON h.table_oid = c.oid
        UNION ALL
        SELECT
            c.oid,
            c.relkind,
            m.argument
        FROM members AS m
        JOIN pg_inherits AS i ON m.oid = i.inhparent
        JOIN pg_class AS c ON i.inhrelid = c.oid
        WHERE m.relkind = 'p'
    )

    SELECT
        h.transitions,
        get_host_trigger_name(p_schema),
        'AFTER INSERT',
        'ROW',
        'create_step_result_audit',
        '',
        'step-audit: writes the audit row of each worker result.'
    FROM host AS h
    UNION ALL
    SELECT
        h.transitions,
        'trg_step_audit_change',
        'AFTER DELETE OR UPDATE OF workflow_step_transition_uuid, workflow_step_uuid, from_state, to_state, '
        'sort_key, created_at, metadata',
        'ROW',
        'record_step_audit_change',
        '',
        'step-audit: keeps what stood in the transition of a worker result.'
    FROM host AS h
    UNION ALL
    SELECT
        h.steps,
        'trg_step_audit_deleted',
        'AFTER DELETE',
        'ROW',
        'record_deleted_step',
        '',
        'step-audit: keeps the name of a deleted step.'
    FROM host AS h
    UNION ALL
    SELECT
        m.oid::regclass,
        'trg_step_audit_truncate',
        'BEFORE TRUNCATE',
        'STATEMENT',
        'record_step_audit_truncate',
        quote_literal(m.argument),
        'step-audit: keeps what a TRUNCATE takes away.'
    FROM members AS m
    -- Not of a foreign table, which takes none before 16.
    WHERE m.relkind = 'r';
$$;

COMMENT ON FUNCTION list_host_triggers(text) IS
'The triggers that step-audit has on the engine''s tables when it is attached.';
