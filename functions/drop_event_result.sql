-- A worker result's event, as JSON text, without the worker's output: its member result as null.
--
--     SELECT drop_event_result(t.metadata ->> 'event') FROM tasker_workflow_step_transitions AS t;
--
-- The output may be long and is not audited: it only has to be JSON, and json checks that several
-- times faster than jsonb stores it. So the text is cut behind the first "result": and before the last
-- plain members. If what lies between is a JSON value, a null in its place changes nothing else: the
-- text is JSON exactly if it then is, and its other members are the same. If it is none, or the
-- output stands elsewhere, the text stays as it is.

CREATE OR REPLACE FUNCTION drop_event_result(p_event text)
RETURNS text
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    -- Bytes, as to count the characters of a long text takes longer than to read it.
    v_encoding name := pg_catalog.getdatabaseencoding();
    v_bytes bytea := pg_catalog.convert_to(p_event, v_encoding);
    v_start integer := pg_catalog."position"(pg_catalog.substr(v_bytes, 1, 1000), '"result":'::bytea) + 9;
    -- The plain members at the end; what is not ASCII has backslashes here.
    v_tail text := pg_catalog."substring"(
        pg_catalog.encode(pg_catalog.substr(v_bytes, pg_catalog.octet_length(v_bytes) - 160), 'escape'),
        E'(?:, ?"[^"\\\\]*": ?(?:"[^"\\\\]*"|[-+.\\w]+))*\\}+$'
    );
    v_length integer := pg_catalog.octet_length(v_bytes) + 1 - v_start - pg_catalog.octet_length(v_tail);
    v_output text;
BEGIN
    IF v_start > 9 AND v_length > 0 THEN
        v_output := pg_catalog.convert_from(pg_catalog.substr(v_bytes, v_start, v_length), v_encoding);
        IF pg_catalog.json_typeof(v_output::json) IS NOT NULL THEN
            RETURN pg_catalog.convert_from(pg_catalog.substr(v_bytes, 1, v_start - 1), v_encoding)
                || 'null'::text || v_tail;
        END IF;
    END IF;
    RETURN p_event;
EXCEPTION
    WHEN invalid_text_representation OR statement_too_complex THEN RETURN p_event;
END;
$$;

COMMENT ON FUNCTION drop_event_result(text) IS
'A worker result''s event, as JSON text, without the worker''s output.';
