-- Drops the view step_audits and the views of the engine's tables.
--
--     SELECT hide_host_tables();
--
-- A part of attach_step_result_audit() and detach_step_result_audit().

CREATE OR REPLACE FUNCTION hide_host_tables()
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_view regclass;
BEGIN
    FOR v_view IN
        SELECT c.oid::regclass
        FROM pg_class AS c
        WHERE
            c.relnamespace = quote_ident(current_schema())::regnamespace
            AND c.relkind = 'v'
            AND (
                c.relname = 'step_audits'
                OR c.relname IN (SELECT 'tasker_' || h.table_name FROM list_host_columns() AS h)
            )
        ORDER BY c.relname <> 'step_audits'
    LOOP
        EXECUTE format('DROP VIEW %s', v_view);
    END LOOP;
END;
$$;

COMMENT ON FUNCTION hide_host_tables() IS
'Drops the view step_audits and the views of the engine''s tables.';
