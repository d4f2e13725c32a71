-- What around step-audit keeps results from being audited, sealed or verified, and attach cannot repair.
--
--     SELECT problem, is_broken FROM list_surrounding_problems('tasker.workflow_step_transitions');
--
-- p_table: the engine's transitions. Settings of roles and databases that silence the trigger,
-- subscriptions whose rows fire none or that would stop at a key, row-level security that hides rows from
-- an auditor, triggers of the engine's that change what an UPDATE does not name, encodings in which nothing
-- can be sealed. A part of list_step_audit_problems().

CREATE OR REPLACE FUNCTION list_surrounding_problems(p_table regclass)
RETURNS TABLE (problem text, is_broken boolean)
LANGUAGE sql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
SET quote_all_identifiers = off
AS $$
    -- Of roles, only those matter that may write results.
    SELECT
        format(
            'session_replication_role is replica for %1$s, so that the trigger does not fire: ALTER %1$s RESET session_replication_role',
            CASE
                WHEN r.oid IS NULL THEN format('DATABASE %I', coalesce(d.datname, current_database()))
                WHEN d.oid IS NULL THEN format('ROLE %I', r.rolname)
                ELSE format('ROLE %I IN DATABASE %I', r.rolname, d.datname)
            END
        ),
        TRUE
    FROM pg_db_role_setting AS s
    LEFT JOIN pg_roles AS r ON s.setrole = r.oid
    LEFT JOIN pg_database AS d ON s.setdatabase = d.oid
    WHERE
        'session_replication_role=replica' = ANY(lower(s.setconfig::text)::text[])
        AND (d.oid IS NULL OR d.datname = current_database())
        AND (r.oid IS NULL OR has_any_column_privilege(r.oid, p_table, 'INSERT'))

    UNION ALL
    SELECT
        'session_replication_role is replica for the whole server, so that the trigger does not fire: take it out of the configuration',
        TRUE
    FROM pg_settings AS s
    WHERE
        s.name = 'session_replication_role'
        AND s.setting = 'replica'
        AND s.source IN ('configuration file', 'command line', 'environment variable')

    UNION ALL
    SELECT
        format(
            'rows that subscription %s applies fire no trigger of step-audit: run step-audit backfill now and then, or audit at the publisher',
            string_agg(DISTINCT u.subname, ', ')
        ),
        TRUE
    FROM pg_subscription_rel AS s
    JOIN pg_subscription AS u ON s.srsubid = u.oid
    JOIN pg_class AS c ON s.srrelid = c.oid
    WHERE
        c.oid IN (
            WITH RECURSIVE parts (oid) AS (
                SELECT p_table::oid
                UNION
                SELECT i.inhrelid FROM pg_inherits AS i
                JOIN parts AS p ON i.inhparent = p.oid
            )

            SELECT p.oid FROM parts AS p
        )
        -- The audit may come along from the publisher, or the trigger fire always.
        AND NOT EXISTS (
            SELECT FROM pg_subscription_rel AS a
            WHERE a.srrelid = to_regclass('tasker_workflow_step_result_audit')
        )
        AND NOT EXISTS (
            SELECT FROM pg_trigger AS t
            WHERE t.tgrelid = c.oid AND t.tgfoid = to_regprocedure('create_step_result_audit()') AND t.tgenabled IN ('A', 'R')
        )
    HAVING count(*) > 0

    UNION ALL
    -- One that was made after the last attach, which declares none to what a subscription fills.
    SELECT
        format(
            'subscription %s fills %s, to which the audit declares a key: its worker stops where the publisher '
            'truncates that: run step-audit attach',
            string_agg(DISTINCT u.subname, ', '), string_agg(DISTINCT k.confrelid::regclass::text, ', ')
        ),
        FALSE
    FROM pg_constraint AS k
    JOIN pg_subscription_rel AS s ON k.confrelid = s.srrelid
    JOIN pg_subscription AS u ON s.srsubid = u.oid
    WHERE
        k.conrelid = to_regclass('tasker_workflow_step_result_audit')
        AND k.contype = 'f'
        -- Who enforces them has chosen so.
        AND pg_get_constraintdef(k.oid) ~ ' NOT ENFORCED$'
    HAVING count(*) > 0

    UNION ALL
    SELECT
        format(
            'row-level security of %s hides rows from %s, whose step-audit verify is refused: ALTER ROLE %3$I BYPASSRLS, or verify as %s',
            c.oid::regclass, r.rolname, r.rolname, pg_get_userbyid(c.relowner)
        ),
        FALSE
    FROM (
        SELECT get_host_table('tasker_' || h.table_name) AS table_oid
        FROM list_host_columns() AS h
        UNION
        SELECT to_regclass(t.table_name)
        FROM list_step_audit_tables() AS t
    ) AS o
    JOIN pg_class AS c ON o.table_oid = c.oid
    CROSS JOIN pg_roles AS r
    WHERE
        c.relrowsecurity
        AND r.rolcanlogin
        AND NOT (r.rolsuper OR r.rolbypassrls OR pg_has_role(r.oid, c.relowner, 'USAGE'))
        -- Auditors: a reader may not read the log, a sealer not the audit.
        AND has_table_privilege(r.oid, to_regclass('step_audit_leaves'), 'SELECT')
        AND has_table_privilege(r.oid, to_regclass('step_audit_salts'), 'SELECT')
        AND has_table_privilege(r.oid, to_regclass('tasker_workflow_step_result_audit'), 'SELECT')

    UNION ALL
    -- pg_trigger.tgtype: ROW 1, BEFORE 2, UPDATE 16.
    SELECT
        format(
            'trigger %s of %s runs before each UPDATE: where it changes evidence that the UPDATE does not name, '
            'what stood there is not kept, and verify calls the record altered',
            t.tgname, p_table
        ),
        FALSE
    FROM pg_trigger AS t
    WHERE
        t.tgrelid = p_table
        AND NOT t.tgisinternal
        AND t.tgtype & 19 = 19

    UNION ALL
    SELECT
        format(
            'nothing can be sealed here, as database %s is encoded in %s: '
            'dump it and restore it into one of UTF8; the audit works without seals meanwhile',
            current_database(), current_setting('server_encoding')
        ),
        FALSE
    WHERE current_setting('server_encoding') <> 'UTF8';
$$;

COMMENT ON FUNCTION list_surrounding_problems(regclass) IS
'What around step-audit keeps results from being audited, sealed or verified, and attach cannot repair.';
