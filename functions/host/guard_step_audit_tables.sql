-- Guards the append-only tables: nobody updates, deletes or truncates, the owner neither.
--
--     SELECT guard_step_audit_tables();
--
-- Row by row, as Citus knows no triggers for a statement on its tables but for TRUNCATE. A guard that
-- is missing, not ours or not enabled always is made anew. A part of attach_step_result_audit().

CREATE OR REPLACE FUNCTION guard_step_audit_tables()
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_guard record;
BEGIN
    FOR v_guard IN
        SELECT
            t.table_name,
            g.*,
            d.oid IS NOT NULL AS is_there
        FROM list_step_audit_tables() AS t
        CROSS JOIN (
            VALUES
            -- pg_trigger.tgtype: ROW 1, BEFORE 2, DELETE 8, UPDATE 16, TRUNCATE 32.
            ('trg_append_only', 'UPDATE OR DELETE', 'ROW', 27),
            ('trg_append_only_truncate', 'TRUNCATE', 'STATEMENT', 34)
        ) AS g (guard_name, operations, level, trigger_type)
        LEFT JOIN pg_trigger AS d
            ON d.tgrelid = to_regclass(t.table_name) AND g.guard_name = d.tgname
        WHERE
            t.is_append_only
            AND (d.tgenabled, d.tgtype, d.tgfoid, d.tgqual) IS DISTINCT FROM
            ('A'::"char", g.trigger_type::smallint, 'reject_audit_change()'::regprocedure::oid, NULL::pg_node_tree)
    LOOP
        PERFORM lock_host_tables(p_exclusively => NULL);
        IF v_guard.is_there THEN
            EXECUTE format('DROP TRIGGER %I ON %I', v_guard.guard_name, v_guard.table_name);
        END IF;
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE %s ON %I FOR EACH %s EXECUTE FUNCTION reject_audit_change()',
            v_guard.guard_name, v_guard.operations, v_guard.table_name, v_guard.level
        );
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER %I', v_guard.table_name, v_guard.guard_name);
        EXECUTE format(
            'COMMENT ON TRIGGER %I ON %I IS %L',
            v_guard.guard_name, v_guard.table_name, 'step-audit: refuses to change what was recorded.'
        );
    END LOOP;
END;
$$;

COMMENT ON FUNCTION guard_step_audit_tables() IS
'Guards the append-only tables: nobody updates, deletes or truncates, the owner neither.';
