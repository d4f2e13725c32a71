-- The first 200 characters of a value that could not be read, for its anomaly: of a string its own
-- text, of anything else its JSON text.
--
--     SELECT read_raw_value(t.metadata -> 'worker_uuid') FROM tasker_workflow_step_transitions AS t;
--
-- NULL where it cannot be printed. It never raises.

CREATE OR REPLACE FUNCTION read_raw_value(p_value jsonb)
RETURNS text
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
BEGIN
    IF pg_catalog.jsonb_typeof(p_value) = 'string' THEN
        RETURN pg_catalog.left(p_value #>> '{}'::text[], 200);
    END IF;
    RETURN cut_json_value(p_value, 200);
EXCEPTION
    WHEN
        statement_too_complex OR program_limit_exceeded OR out_of_memory OR internal_error
    THEN RETURN NULL;
END;
$$;

COMMENT ON FUNCTION read_raw_value(jsonb) IS
'The first 200 characters of a value that could not be read; NULL where it cannot be printed.';
