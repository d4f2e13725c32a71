-- What is not as attach_step_result_audit() leaves it; it repairs what can be repaired.
--
--     SELECT problem, is_broken FROM list_step_audit_problems();
--
-- is_broken: results may go without an audit row, or with more rights than they should. Where a table
-- of step-audit is gone, nothing else is looked at.

CREATE OR REPLACE FUNCTION list_step_audit_problems()
RETURNS TABLE (problem text, is_broken boolean)
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
SET quote_all_identifiers = off
AS $$
DECLARE
    v_table regclass := get_host_table('tasker_workflow_step_transitions');
    v_owner name;
BEGIN
    RETURN QUERY
    SELECT
        format(
            'table %s of step-audit is gone: find out who dropped or renamed it, and restore it from a backup', t.table_name
        ),
        TRUE
    FROM list_step_audit_tables() AS t
    WHERE to_regclass(t.table_name) IS NULL;
    IF FOUND THEN
        RETURN;
    END IF;
    IF v_table IS NULL THEN
        RETURN QUERY
        SELECT 'the engine''s tables are not shown in this schema: attach', TRUE;
        RETURN;
    END IF;
    SELECT pg_get_userbyid(c.relowner) INTO v_owner FROM pg_class AS c WHERE c.oid = v_table;

    RETURN QUERY
    SELECT format('%s. %s', p.problem, p.remedy), TRUE
    FROM find_workflow_engine() AS e
    CROSS JOIN list_host_problems(e.schema_name, e.table_prefix) AS p
    WHERE p.is_refused
    UNION ALL
    SELECT 'the view step_audits is missing: attach', TRUE
    WHERE to_regclass('step_audits') IS NULL
    UNION ALL
    SELECT
        format(
            '%s objects of step-audit, %s among them, do not belong to %s as the engine''s tables do: attach',
            count(*), min(o.object_name), v_owner
        ),
        TRUE
    FROM list_step_audit_owners() AS o
    WHERE o.owner_name <> v_owner
    HAVING count(*) > 0
    UNION ALL
    SELECT format('the guard of table %s is missing or not enabled always: attach', t.table_name), TRUE
    FROM list_step_audit_tables() AS t
    WHERE t.is_append_only AND (
        SELECT count(*) FROM pg_trigger AS g
        WHERE g.tgrelid = to_regclass(t.table_name) AND g.tgname ~ '^trg_append_only' AND g.tgenabled = 'A'
    ) < 2
    UNION ALL
    -- A partition that the engine has made since has no trigger against TRUNCATE yet.
    SELECT format('the trigger %s of table %s is %s', h.trigger_name, h.table_oid, s.state), h.level = 'ROW'
    FROM find_workflow_engine() AS e
    CROSS JOIN list_host_triggers(e.schema_name) AS h
    LEFT JOIN pg_trigger AS t ON h.table_oid = t.tgrelid AND h.trigger_name = t.tgname
    CROSS JOIN LATERAL (
        SELECT
            CASE
                WHEN t.oid IS NULL THEN 'missing: attach'
                WHEN t.tgenabled = 'D' THEN 'disabled'
                WHEN t.tgenabled = 'R' THEN 'enabled for replicas only'
            END AS state
    ) AS s
    -- That of the results has a field of its own.
    WHERE s.state IS NOT NULL AND h.function_name <> 'create_step_result_audit'
    UNION ALL
    SELECT format('stray %s: attach', r.object_name), TRUE
    FROM list_stray_rights() AS r
    UNION ALL
    SELECT
        CASE
            WHEN o.field ~ '^table ' THEN format(
                '%s is unlogged, so that a crash of the server empties it: ALTER TABLE %I SET LOGGED, while nobody writes',
                o.field, substr(o.field, 7)
            )
            ELSE format(
                '%s %s: step-audit install mends it',
                CASE WHEN o.field ~ '^column ' THEN 'NOT NULL of ' || o.field ELSE o.field END,
                CASE o.finding WHEN 'missing object' THEN 'is missing' ELSE 'is not as it was installed' END
            )
        END,
        o.field !~ '^index '
    FROM verify_step_audit_objects() AS o
    WHERE
        o.finding <> 'foreign object'
        AND (
            o.field ~ '^(table|column|default|constraint|index|function) '
            OR (o.field ~ '^view tasker_' AND o.finding = 'altered object')
        )
        -- While it is detached, the keys to the engine's tables are not there.
        AND (o.field !~ '[.]fk_audit_' OR to_regclass('step_audits') IS NOT NULL)
    UNION ALL
    SELECT r.problem, r.is_broken
    FROM list_surrounding_problems(v_table) AS r;
END;
$$;

COMMENT ON FUNCTION list_step_audit_problems() IS
'What is not as attach_step_result_audit() leaves it, and keeps results from being audited as they should.';
