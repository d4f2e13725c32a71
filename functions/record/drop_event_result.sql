-- A worker result's event, as JSON text, without the worker's output: its member result as null.
--
--     SELECT drop_event_result(t.metadata ->> 'event') FROM tasker_workflow_step_transitions AS t;
--
-- The output may be long and is not audited: it only has to be JSON, and json checks that several
-- times faster than jsonb stores it. So what stands between the first ,"result": and the last
-- ,"status": is taken out, which are the output's neighbours in what the engine writes. If it is one
-- JSON value, a null in its place changes nothing else: the text is JSON exactly if it then is, and
-- its other members are the same. If it is none, the text stays as it is.
-- It is cut as bytes, as to count the characters of a long text takes longer than to parse it.

CREATE OR REPLACE FUNCTION drop_event_result(p_event text)
RETURNS text
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_encoding name := pg_catalog.getdatabaseencoding();
    v_before text := pg_catalog.split_part(p_event, ',"result":'::text, 1) || ',"result":'::text;
    v_behind text := ',"status":'::text || pg_catalog.split_part(p_event, ',"status":'::text, -1);
    v_start integer := pg_catalog.octet_length(v_before) + 1;
    v_length integer := pg_catalog.octet_length(p_event) + 1 - v_start - pg_catalog.octet_length(v_behind);
BEGIN
    IF v_length > 0 AND pg_catalog.json_typeof(pg_catalog.convert_from(
        pg_catalog.substr(pg_catalog.convert_to(p_event, v_encoding), v_start, v_length), v_encoding
    )::json) IS NOT NULL THEN
        RETURN v_before || 'null'::text || v_behind;
    END IF;
    RETURN p_event;
EXCEPTION
    WHEN
        invalid_text_representation OR statement_too_complex
        OR program_limit_exceeded OR out_of_memory OR internal_error
    THEN RETURN p_event;
END;
$$;

COMMENT ON FUNCTION drop_event_result(text) IS
'A worker result''s event, as JSON text, without the worker''s output.';
