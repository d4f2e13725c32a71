-- The full result that an event holds, given as text, where json cannot search it: it has \u0000, a
-- lone surrogate or a character that the server's encoding lacks, or is no JSON at all.
--
--     SELECT get_odd_step_result('{"data": {"success": true, "result": "a\u0000b"}}');
--
-- It is slow, and get_step_result() calls it only where the plain way failed. It never raises: NULL
-- where the text is not JSON; NULL and a warning, which names p_transition_uuid, where it is too deep
-- or too large to be printed.

CREATE OR REPLACE FUNCTION get_odd_step_result(p_event text, p_transition_uuid uuid DEFAULT NULL)
RETURNS json
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_document json;
BEGIN
    v_document := protect_json_escapes(p_event)::json;
    IF pg_catalog.json_typeof(v_document -> 'data'::text) = 'object' THEN
        v_document := v_document -> 'data'::text;
    END IF;
    RETURN restore_json_escapes(v_document::text)::json;
EXCEPTION
    WHEN invalid_text_representation THEN RETURN NULL;
    WHEN statement_too_complex OR program_limit_exceeded OR out_of_memory OR internal_error THEN
        RAISE WARNING 'the result of transition % cannot be printed', p_transition_uuid
            USING DETAIL = sqlerrm;
        RETURN NULL;
END;
$$;

COMMENT ON FUNCTION get_odd_step_result(text, uuid) IS
'The full result that an event holds, given as text, where json cannot search it.';
