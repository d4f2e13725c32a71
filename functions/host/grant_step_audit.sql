-- Gives a role the rights of a reader, an auditor, a sealer, an attributor, a holder, a purger or an eraser.
--
--     SELECT grant_step_audit('dashboards', 'reader');
--
-- reader: the view step_audits, the histories, lists and metrics, which need the columns of the engine's
-- tables that the view shows. auditor: what a reader has, and all else that a verification reads. sealer: to
-- seal and to sign checkpoints. attributor: to say who was behind an operator action. holder: to hold and
-- to release. purger, eraser: to purge, to erase. What is granted stays through detach and attach. Call it
-- as the owner of the engine's tables.

CREATE OR REPLACE FUNCTION grant_step_audit(p_role name, p_as text)
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_owner name;
    v_tables text[];
    v_host record;
    v_table text;
    v_schema regnamespace;
    v_functions text[] := list_step_audit_function_names();
    v_function regprocedure;
    -- What runs with the owner's rights, by name; NULL for who reads with his own.
    v_deeds text := CASE p_as
        WHEN 'sealer' THEN '^seal_'
        WHEN 'attributor' THEN '^attribute_'
        WHEN 'holder' THEN '^(hold|release)_'
        WHEN 'purger' THEN '^purge_'
        WHEN 'eraser' THEN '^(erase_|list_step_audit_erasures$)'
    END;
BEGIN
    IF v_deeds IS NULL AND (p_as IS NULL OR p_as NOT IN ('reader', 'auditor')) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format(
                'a role can be reader, auditor, sealer, attributor, holder, purger or eraser, not %s', coalesce(p_as, 'NULL')
            );
    END IF;

    -- Who has a right without the option to grant it is told nothing but a warning by GRANT.
    SELECT pg_get_userbyid(c.relowner) INTO v_owner FROM pg_class AS c WHERE c.oid = 'step_audit_files'::regclass;
    IF NOT pg_has_role(v_owner, 'USAGE') THEN
        RAISE insufficient_privilege USING
            MESSAGE = format('step-audit belongs to %s, and %s is no member of it', v_owner, current_user),
            HINT = format('Connect as %s, as a member of it, or as a superuser.', v_owner);
    END IF;

    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), p_role);
    IF v_deeds IS NOT NULL THEN
        FOR v_function IN
            SELECT p.oid::regprocedure
            FROM pg_proc AS p
            WHERE
                p.pronamespace = quote_ident(current_schema())::regnamespace
                AND p.proname = ANY(v_functions)
                AND p.proname ~ v_deeds
                AND p.prosecdef
        LOOP
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', v_function, p_role);
        END LOOP;
        v_tables := CASE p_as
            WHEN 'sealer' THEN '{step_audit_leaves,step_audit_subtrees,step_audit_seals}'::text[]
            ELSE '{}'::text[]
        END;
    ELSE
        SELECT array_agg(t.table_name) INTO v_tables
        FROM list_step_audit_tables() AS t
        WHERE
            p_as = 'auditor'
            OR t.table_name ~ '^tasker_'
            OR t.table_name IN ('step_audit_changes', 'step_audit_deleted_steps', 'step_audit_events', 'step_audit_seals')
            OR NOT t.is_append_only;
        FOR v_host IN
            SELECT
                c.oid::regclass AS table_oid,
                n.nspname,
                'tasker_' || h.table_name AS shown,
                c.relnamespace <> quote_ident(current_schema())::regnamespace AS is_shown,
                string_agg(quote_ident(h.column_name), ', ') AS columns
            FROM list_host_columns() AS h
            JOIN pg_class AS c ON c.oid = get_host_table('tasker_' || h.table_name)
            JOIN pg_namespace AS n ON c.relnamespace = n.oid
            GROUP BY c.oid, n.nspname, h.table_name, c.relnamespace
        LOOP
            EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', v_host.nspname, p_role);
            EXECUTE format('GRANT SELECT (%s) ON %s TO %I', v_host.columns, v_host.table_oid, p_role);
            IF v_host.is_shown THEN
                EXECUTE format('GRANT SELECT ON %I TO %I', v_host.shown, p_role);
            END IF;
        END LOOP;
        EXECUTE format('GRANT SELECT ON step_audits TO %I', p_role);
    END IF;
    FOREACH v_table IN ARRAY v_tables LOOP
        EXECUTE format('GRANT SELECT ON %I TO %I', v_table, p_role);
    END LOOP;

    -- Default privileges may have taken from PUBLIC what everybody may execute.
    FOR v_function IN
        SELECT p.oid::regprocedure
        FROM pg_proc AS p
        WHERE
            p.pronamespace = quote_ident(current_schema())::regnamespace
            AND p.proname = ANY(v_functions)
            AND NOT p.prosecdef
            AND NOT has_function_privilege(p_role, p.oid, 'EXECUTE')
    LOOP
        EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %I', v_function, p_role);
    END LOOP;

    -- A schema may belong to another than its tables.
    FOR v_schema IN
        SELECT n.oid::regnamespace
        FROM pg_namespace AS n
        WHERE
            (
                n.oid = quote_ident(current_schema())::regnamespace
                OR (p_as IN ('reader', 'auditor') AND n.oid IN (
                    SELECT c.relnamespace FROM list_host_columns() AS h
                    JOIN pg_class AS c ON c.oid = get_host_table('tasker_' || h.table_name)
                ))
            )
            AND NOT has_schema_privilege(p_role, n.oid, 'USAGE')
    LOOP
        RAISE insufficient_privilege USING
            MESSAGE = format('%s may not give %s the right USAGE on schema %s', current_user, p_role, v_schema),
            HINT = format('As the owner of the schema: GRANT USAGE ON SCHEMA %s TO %I; then grant again.', v_schema, p_role);
    END LOOP;
END;
$$;

COMMENT ON FUNCTION grant_step_audit(name, text) IS
'Gives a role the rights of a reader, an auditor, a sealer, an attributor, a holder, a purger or an eraser.';
