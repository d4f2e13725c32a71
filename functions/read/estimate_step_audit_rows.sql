-- About how many rows a table has, at once however large it is.
--
--     SELECT estimate_step_audit_rows('tasker_workflow_step_result_audit');
--
-- Counted while the table has at most 8 MB. Beyond, its size by the rows on a page as VACUUM or ANALYZE
-- found them last; where neither was there yet, by the server's statistics.

CREATE OR REPLACE FUNCTION estimate_step_audit_rows(p_table regclass)
RETURNS double precision
LANGUAGE plpgsql
VOLATILE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_size bigint := pg_relation_size(p_table);
    v_rows double precision;
BEGIN
    IF v_size <= 8388608 THEN
        EXECUTE format('SELECT count(*) FROM %s', p_table) INTO v_rows;
        RETURN v_rows;
    END IF;
    SELECT
        CASE
            WHEN c.reltuples > 0 AND c.relpages > 0
                THEN c.reltuples::double precision / c.relpages::double precision
                    * (v_size / current_setting('block_size')::bigint)::double precision
            ELSE pg_stat_get_live_tuples(p_table)::double precision
        END
    INTO v_rows
    FROM pg_class AS c
    WHERE c.oid = p_table;
    RETURN round(v_rows);
END;
$$;

COMMENT ON FUNCTION estimate_step_audit_rows(regclass) IS
'About how many rows a table has, at once however large it is.';
