-- The event that a transition's metadata of type json holds, as JSON text, whatever is in it.
--
--     SELECT read_json_event(protect_json_escapes('{"event": "{\"a\": \"\ud800\"}"}')::json);
--
-- p_metadata: with its escapes protected. Of an event that is a string it is what the string says, in
-- which a character that no text of Postgres can hold stands as the escape that it was: that is the same
-- JSON. NULL where there is no event, '' where the string is not JSON. What is nested too deeply or too
-- large it raises, for the guards of its callers.

CREATE OR REPLACE FUNCTION read_json_event(p_metadata json)
RETURNS text
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_text text;
BEGIN
    IF pg_catalog.json_typeof(p_metadata -> 'event'::text) IS DISTINCT FROM 'string' THEN
        RETURN restore_json_escapes((p_metadata -> 'event'::text)::text);
    END IF;

    v_text := p_metadata ->> 'event'::text;
    -- The character U+0000 may stand nowhere in JSON, and a protected one only where JSON allows it,
    -- which is in a string and not behind a backslash. After that its escape may take its place.
    IF pg_catalog.strpos(v_text, E'\x7f0000'::text) > 0 OR pg_catalog.json_typeof(v_text::json) IS NULL THEN
        RETURN '';
    END IF;
    RETURN restore_json_escapes(v_text);
EXCEPTION
    WHEN invalid_text_representation THEN RETURN '';
    WHEN statement_too_complex OR program_limit_exceeded OR out_of_memory OR internal_error THEN RAISE;
END;
$$;

COMMENT ON FUNCTION read_json_event(json) IS
'The event that a transition''s metadata of type json holds, as JSON text.';
