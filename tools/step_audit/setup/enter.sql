-- How each install transaction begins: it finds the engine and the schema where step-audit stands,
-- waits for other installs there, creates the schema where it is missing, goes on as the owner of the
-- engine's tables, and stops where something else has a name of ours. What stands between < and > is
-- filled in; our functions are not there yet, so that the query of one is put in its place.
-- Before the block is read, whose types would be looked for on the session's path.
SET LOCAL search_path = pg_catalog, pg_temp;

DO $enter$
DECLARE
    v_schema text := '<schema>';
    v_engine_schema text := '<engine schema>';
    v_engine record;
    v_engines text[];
    v_give text;
    v_ours text[];
    v_strangers text;
BEGIN
    PERFORM set_config('lock_timeout', '<lock timeout>', TRUE);
    PERFORM set_config('check_function_bodies', 'off', TRUE);
    PERFORM set_config('quote_all_identifiers', 'off', TRUE);

    -- An install that is there, or was there and kept its rows, is gone on with.
    IF v_schema IS NULL AND v_engine_schema IS NULL THEN
        SELECT min(n.nspname) INTO v_schema
        FROM pg_class AS c
        JOIN pg_namespace AS n ON c.relnamespace = n.oid
        WHERE c.relname = 'step_audit_files' AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
        HAVING count(*) = 1;
    END IF;

    SELECT array_agg(DISTINCT e.schema_name) INTO v_engines FROM list_workflow_engines() AS e;
    SELECT
        e.*,
        a.is_audited,
        count(*) OVER () = 1 OR coalesce(e.schema_name IN (v_engine_schema, v_schema), FALSE) OR a.is_audited AS is_clear
    INTO v_engine
    FROM list_workflow_engines() AS e
    CROSS JOIN LATERAL (
        SELECT
            EXISTS (
                -- By join: to_regclass() fails where a member has no rights but by SET ROLE.
                SELECT FROM pg_trigger AS t
                JOIN pg_class AS c ON t.tgrelid = c.oid AND c.relname = e.table_prefix || 'workflow_step_transitions'
                JOIN pg_namespace AS h ON c.relnamespace = h.oid AND h.nspname = e.schema_name
                JOIN pg_proc AS p ON t.tgfoid = p.oid AND p.proname = 'create_step_result_audit'
                JOIN pg_namespace AS n ON p.pronamespace = n.oid AND n.nspname = v_schema
            ) AS is_audited
    ) AS a
    WHERE v_engine_schema IS NULL OR e.schema_name = v_engine_schema
    ORDER BY a.is_audited DESC, e.schema_name = v_schema DESC NULLS LAST, e.table_prefix DESC
    LIMIT 1;

    IF v_engine.is_clear IS NULL THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = format(
                'no workflow engine was found in %s: looked for tables tasker_tasks, tasker_workflow_steps, '
                'tasker_named_steps, tasker_workflow_step_transitions, and for tasks, workflow_steps, named_steps, '
                'workflow_step_transitions',
                coalesce('schema ' || v_engine_schema, 'database ' || current_database())
            ),
            HINT = 'Run the engine''s migrations first, or connect to its database.';
    ELSIF NOT v_engine.is_clear THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = format(
                'several schemas have a workflow engine''s tables: %s', array_to_string(v_engines, ', ')
            ),
            HINT = 'Name the one to audit with --engine-schema.';
    END IF;

    IF v_engine.table_owner <> current_user AND NOT pg_has_role(v_engine.table_owner::name, 'MEMBER') THEN
        RAISE insufficient_privilege USING
            MESSAGE = format(
                'the engine''s tables belong to %s, and %s is no member of it', v_engine.table_owner, current_user
            ),
            HINT = format('Connect as %s, as a member of it, or as a superuser.', v_engine.table_owner);
    END IF;

    v_schema := coalesce(v_schema, CASE v_engine.table_prefix WHEN '' THEN 'step_audit' ELSE v_engine.schema_name END);
    PERFORM pg_advisory_xact_lock(hashtextextended('step_audit ' || v_schema, 0));
    IF NOT EXISTS (SELECT FROM pg_namespace AS n WHERE n.nspname = v_schema) THEN
        IF has_database_privilege(v_engine.table_owner, current_database(), 'CREATE') THEN
            PERFORM set_config('role', v_engine.table_owner, TRUE);
        END IF;
        IF NOT has_database_privilege(current_database(), 'CREATE') THEN
            RAISE insufficient_privilege USING
                MESSAGE = format('%s may not create schema %s in database %s', current_user, v_schema, current_database()),
                HINT = format(
                    'Have it created, CREATE SCHEMA %I AUTHORIZATION %I, or GRANT CREATE ON DATABASE %I TO %I.',
                    v_schema, v_engine.table_owner, current_database(), current_user
                );
        END IF;
        EXECUTE format('CREATE SCHEMA %I AUTHORIZATION %I', v_schema, v_engine.table_owner);
        EXECUTE format('COMMENT ON SCHEMA %I IS %L', v_schema, 'step-audit: the audit trail of worker results.');
    END IF;

    -- The engine's tables may have changed hands since: what is ours follows them. It is found here and
    -- not by a function of ours, which its former owner may have changed.
    FOR v_give IN
        WITH ours AS (
            SELECT format('SCHEMA %s', n.oid::regnamespace) AS object, n.nspowner AS role_oid
            FROM pg_namespace AS n
            WHERE n.nspname = v_schema AND obj_description(n.oid, 'pg_namespace') ~ '^step-audit: '
            UNION ALL
            SELECT format('TABLE %s', c.oid::regclass), c.relowner
            FROM pg_class AS c
            WHERE
                c.relnamespace = to_regnamespace(quote_ident(v_schema))
                AND (
                    (c.relkind IN ('r', 'p') AND c.relname ~ '^(step_audit|tasker_workflow_step_result_audit)')
                    OR (c.relkind = 'v' AND c.relname ~ '^(step_audits|tasker_(tasks|named_steps|workflow_steps|workflow_step_transitions))$')
                )
            UNION ALL
            SELECT format('TYPE %s', y.oid::regtype), y.typowner
            FROM pg_type AS y
            WHERE y.typnamespace = to_regnamespace(quote_ident(v_schema)) AND y.typname = 'step_audit'
            UNION ALL
            SELECT format('ROUTINE %s', p.oid::regprocedure), p.proowner
            FROM pg_proc AS p
            WHERE
                p.pronamespace = to_regnamespace(quote_ident(v_schema))
                AND p.proname = ANY('<functions>'::text[])
                AND obj_description(p.oid, 'pg_proc') IS NOT NULL
        )

        SELECT o.object
        FROM ours AS o
        JOIN pg_roles AS r ON o.role_oid = r.oid
        JOIN pg_class AS c
            ON c.relname = 'step_audit_files' AND c.relnamespace = to_regnamespace(quote_ident(v_schema))
        WHERE
            r.rolname <> v_engine.table_owner
            -- Only who owned the engine's tables could have put the trigger on them.
            AND (r.rolsuper OR (v_engine.is_audited AND r.oid = c.relowner))
    LOOP
        EXECUTE format('ALTER %s OWNER TO %I', v_give, v_engine.table_owner);
    END LOOP;

    IF v_engine.table_owner <> current_user THEN
        PERFORM set_config('role', v_engine.table_owner, TRUE);
    END IF;
    IF NOT (has_schema_privilege(v_schema, 'USAGE') AND has_schema_privilege(v_schema, 'CREATE')) THEN
        RAISE insufficient_privilege USING
            MESSAGE = format(
                'role %s, to whom the engine''s tables belong, has no right to create in schema %s', current_user,
                v_schema
            ),
            HINT = format('GRANT USAGE, CREATE ON SCHEMA %I TO %I.', v_schema, current_user);
    END IF;

    IF to_regclass(format('%I.step_audit_files', v_schema)) IS NOT NULL THEN
        EXECUTE format(
            'SELECT coalesce(array_agg(substring(f.path, ''([^/]*)[.]sql$'')), ''{}'') FROM %I.step_audit_files AS f', v_schema
        ) INTO v_ours;
    END IF;
    IF v_ours IS NULL AND EXISTS (
        SELECT FROM pg_proc AS p
        JOIN pg_class AS c ON c.relname = 'tasker_workflow_step_result_audit' AND c.relnamespace = p.pronamespace
        WHERE p.proname = 'attach_step_result_audit' AND p.pronamespace = quote_ident(v_schema)::regnamespace
    ) THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = format('schema %s has a step-audit without its table step_audit_files, which somebody dropped or renamed', v_schema),
            HINT = 'Find out who, and restore it from a backup or name it back.';
    END IF;
    SELECT string_agg(s.name, ', ' ORDER BY s.name) INTO v_strangers
    FROM (
        SELECT DISTINCT 'function ' || p.proname
        FROM pg_proc AS p
        WHERE
            p.pronamespace = quote_ident(v_schema)::regnamespace
            AND p.proname = ANY('<functions>'::text[])
            AND (p.proname = ANY(v_ours)) IS NOT TRUE
        UNION ALL
        -- Each table and view has a type of its name.
        SELECT CASE c.relkind WHEN 'r' THEN 'table ' WHEN 'v' THEN 'view ' ELSE 'type ' END || t.typname
        FROM pg_type AS t
        LEFT JOIN pg_class AS c ON t.typrelid = c.oid
        WHERE
            v_ours IS NULL
            AND t.typnamespace = quote_ident(v_schema)::regnamespace
            AND (
                t.typname ~ '^(step_audits?|tasker_workflow_step_result_audit(_anomalies)?)$'
                OR (
                    t.typname ~ '^tasker_(tasks|named_steps|workflow_steps|workflow_step_transitions)$'
                    AND (v_engine.schema_name, v_engine.table_prefix) <> (v_schema, 'tasker_')
                )
            )
    ) AS s (name);
    IF v_strangers IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = format('schema %s has what step-audit would create and did not: %s', v_schema, v_strangers),
            HINT = 'Install beside it, into a schema of step-audit''s own: --schema step_audit.';
    END IF;
    PERFORM set_config('search_path', quote_ident(v_schema) || ', pg_temp', TRUE);
END;
$enter$;
