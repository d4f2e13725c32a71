-- What keeps an engine's tables from being audited, or from being audited without a gap.
--
--     SELECT problem, remedy, is_refused FROM list_host_problems('tasker', '');
--
-- p_schema, p_prefix: the engine, as find_workflow_engine() gives it. is_refused: such a host is not
-- attached to; the others are only told. No rows: all is as it should be.

CREATE OR REPLACE FUNCTION list_host_problems(p_schema text, p_prefix text)
RETURNS TABLE (problem text, remedy text, is_refused boolean)
LANGUAGE sql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
SET quote_all_identifiers = off
AS $$
    WITH needed AS (
        SELECT
            h.*,
            p_prefix || h.table_name AS relation,
            to_regclass(format('%I.%I', p_schema, p_prefix || h.table_name)) AS table_oid
        FROM list_host_columns() AS h
    ),

    host AS (
        SELECT DISTINCT
            c.*,
            c.oid::regclass::text AS shown,
            n.table_name,
            r.rolname AS owner_name,
            r.rolsuper OR r.rolbypassrls AS sees_all
        FROM needed AS n
        JOIN pg_class AS c ON n.table_oid = c.oid
        JOIN pg_roles AS r ON c.relowner = r.oid
    ),

    owner AS (
        SELECT h.relowner AS role_oid, h.owner_name
        FROM host AS h
        WHERE h.table_name = 'workflow_step_transitions'
    ),

    -- A result's transition names a step, and the step a task, by keys of the engine's own.
    keys AS (
        SELECT
            h.shown,
            k.column_name,
            (SELECT t.oid FROM host AS t WHERE t.table_name = k.target) AS target_oid,
            p_prefix || k.target AS target,
            f.confrelid,
            f.enforced
        FROM (
            VALUES
            ('workflow_step_transitions', 'workflow_step_uuid', 'workflow_steps'),
            ('workflow_steps', 'task_uuid', 'tasks')
        ) AS k (table_name, column_name, target)
        JOIN host AS h ON k.table_name = h.table_name
        LEFT JOIN LATERAL (
            SELECT
                c.confrelid,
                c.convalidated AND pg_get_constraintdef(c.oid) !~ 'NOT ENFORCED' AS enforced
            FROM pg_constraint AS c
            JOIN pg_attribute AS a ON c.conrelid = a.attrelid AND c.conkey[1] = a.attnum
            WHERE
                c.conrelid = h.oid
                AND c.contype = 'f'
                AND a.attname = k.column_name
                -- On 18, a key to a partitioned table is listed for each partition too.
                AND c.conparentid = 0
            ORDER BY c.confrelid = to_regclass(format('%I.%I', p_schema, p_prefix || k.target)) DESC
            LIMIT 1
        ) AS f ON TRUE
    )

    SELECT
        format(
            'schema %s lacks %s, which the workflow engine creates',
            p_schema, string_agg(DISTINCT n.relation, ', ')
        ),
        'Run the engine''s migrations first.',
        TRUE
    FROM needed AS n
    WHERE n.table_oid IS NULL
    HAVING count(*) > 0

    UNION ALL
    SELECT
        format('%s is no table', h.shown),
        'step-audit reads the engine''s own tables: finish the engine''s migration first.',
        TRUE
    FROM host AS h
    WHERE h.relkind NOT IN ('r', 'p')

    UNION ALL
    SELECT
        CASE
            WHEN a.attname IS NULL THEN format('%s has no column %s', n.table_oid, n.column_name)
            ELSE format(
                'column %s.%s is of type %s, which does not read as %s',
                n.table_oid, n.column_name, format_type(a.atttypid, NULL), replace(n.type_names[1], 'string', 'varchar')
            )
        END,
        'Run the engine''s migrations first, or use the step-audit that knows this engine.',
        TRUE
    FROM needed AS n
    LEFT JOIN pg_attribute AS a
        ON n.table_oid = a.attrelid AND n.column_name = a.attname AND NOT a.attisdropped
    LEFT JOIN pg_type AS y ON a.atttypid = y.oid
    WHERE
        n.table_oid IS NOT NULL
        AND (
            a.attname IS NULL
            OR NOT (
                format_type(a.atttypid, NULL) = ANY(n.type_names)
                -- A state that char(n) pads with blanks is another text to each reader.
                OR (
                    y.typcategory = 'S'
                    AND 'string' = ANY(n.type_names)
                    AND ('character'::regtype NOT IN (y.oid, y.typbasetype) OR n.column_name = 'name')
                )
                OR (y.typtype = 'e' AND 'enum' = ANY(n.type_names))
            )
        )

    UNION ALL
    SELECT
        format('column %s.%s is a virtual generated column, which a trigger does not see', n.table_oid, n.column_name),
        'Make it a stored generated column, or a plain one.',
        TRUE
    FROM needed AS n
    JOIN pg_attribute AS a ON n.table_oid = a.attrelid AND n.column_name = a.attname
    WHERE a.attgenerated = 'v'

    UNION ALL
    SELECT
        format('%s belongs to %s, %s to %s', h.shown, h.owner_name, t.shown, t.owner_name),
        'The audit reads them with the rights of one role: ALTER TABLE ... OWNER TO that role.',
        TRUE
    FROM host AS h
    JOIN host AS t ON t.table_name = 'workflow_step_transitions' AND h.relowner <> t.relowner

    UNION ALL
    SELECT
        format('row-level security of %s is forced, so rows may be hidden from its owner, %s', h.shown, h.owner_name),
        format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY, or ALTER ROLE %I BYPASSRLS.', h.shown, h.owner_name),
        TRUE
    FROM host AS h
    WHERE h.relrowsecurity AND h.relforcerowsecurity AND NOT h.sees_all

    UNION ALL
    SELECT
        format('role %s, to whom the engine''s tables belong, has no right %s on schema %s', o.owner_name, r.right_name, r.name),
        format('GRANT %s ON SCHEMA %I TO %I;', r.right_name, r.name, o.owner_name),
        TRUE
    FROM owner AS o
    CROSS JOIN (
        VALUES (p_schema, 'USAGE'), (current_schema()::text, 'USAGE'), (current_schema()::text, 'CREATE')
    ) AS r (name, right_name)
    WHERE NOT has_schema_privilege(o.role_oid, quote_ident(r.name)::regnamespace, r.right_name)

    UNION ALL
    SELECT
        format('role %s has no right SELECT on %s, which belongs to it', h.owner_name, h.shown),
        format('GRANT SELECT ON %s TO %I;', h.shown, h.owner_name),
        TRUE
    FROM host AS h
    WHERE NOT has_table_privilege(h.relowner, h.oid, 'SELECT')

    UNION ALL
    SELECT
        format('schema %s belongs to %s, who may remove what is in it', n.nspname, r.rolname),
        format('ALTER SCHEMA %I OWNER TO %I;', n.nspname, o.owner_name),
        TRUE
    FROM owner AS o
    JOIN pg_namespace AS n ON n.nspname = current_schema() AND n.nspname <> p_schema
    JOIN pg_roles AS r ON n.nspowner = r.oid
    JOIN pg_database AS d ON d.datname = current_database()
    WHERE
        r.oid NOT IN (o.role_oid, d.datdba)
        AND NOT r.rolsuper
        AND r.rolname <> 'pg_database_owner'

    UNION ALL
    SELECT
        format('the key of %s.%s points to %s, not to %s', k.shown, k.column_name, k.confrelid::regclass, k.target),
        'step-audit would read another table than the engine does: finish the engine''s migration first.',
        TRUE
    FROM keys AS k
    WHERE k.confrelid <> k.target_oid

    UNION ALL
    SELECT
        format('%s has a trigger %s of another program', h.shown, t.tgname),
        'Install beside it, into a schema of step-audit''s own: --schema step_audit.',
        TRUE
    FROM host AS h
    JOIN pg_trigger AS t ON h.oid = t.tgrelid
    WHERE
        h.table_name = 'workflow_step_transitions'
        AND t.tgname = get_host_trigger_name(p_schema)
        AND t.tgfoid <> to_regprocedure('create_step_result_audit()')

    UNION ALL
    SELECT
        format('%s.%s has no enforced and validated key to %s', k.shown, k.column_name, k.target),
        format(
            'An audit row may name one that does not exist. To change that: ALTER TABLE %s ADD FOREIGN KEY (%s) '
            'REFERENCES %s, or VALIDATE CONSTRAINT.', k.shown, k.column_name, k.target_oid::regclass
        ),
        FALSE
    FROM keys AS k
    WHERE k.enforced IS NOT TRUE AND (k.confrelid IS NULL OR k.confrelid = k.target_oid)

    UNION ALL
    SELECT
        format('%s.%s is not kept unique, so that the audit declares no key to it', n.table_oid, n.column_name),
        format(
            'Where two rows have the same one, the audit may mean the other. To change that: '
            'ALTER TABLE %s ADD UNIQUE (%s).', n.table_oid, n.column_name
        ),
        FALSE
    FROM needed AS n
    JOIN host AS h ON n.table_oid = h.oid AND h.relkind = 'r'
    WHERE
        (n.table_name, n.column_name) IN (
            ('tasks', 'task_uuid'),
            ('workflow_steps', 'workflow_step_uuid'),
            ('workflow_step_transitions', 'workflow_step_transition_uuid')
        )
        AND NOT is_unique_column(n.table_oid, n.column_name)

    UNION ALL
    SELECT
        format('%s is partitioned: a partition that is detached or dropped fires no trigger', h.shown),
        'Results whose partition is gone stay in the audit as references without their transition.',
        FALSE
    FROM host AS h
    WHERE h.table_name = 'workflow_step_transitions' AND h.relkind = 'p'
    ORDER BY 3 DESC, 1
$$;

COMMENT ON FUNCTION list_host_problems(text, text) IS
'What keeps an engine''s tables from being audited, or from being audited without a gap; each with its remedy.';
