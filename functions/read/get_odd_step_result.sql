-- The full result that a transition's metadata holds, where json cannot search the event: it has
-- \u0000, a lone surrogate or a character that the server's encoding lacks, or is no JSON at all.
--
--     SELECT get_odd_step_result(t.metadata) FROM tasker_workflow_step_transitions AS t;
--
-- It is slow, and get_step_result() calls it only where the plain way failed.

CREATE OR REPLACE FUNCTION get_odd_step_result(p_metadata jsonb)
RETURNS json
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_event jsonb := p_metadata -> 'event'::text;
    v_document json;
BEGIN
    IF pg_catalog.jsonb_typeof(v_event) <> 'string' THEN
        IF pg_catalog.jsonb_typeof(v_event -> 'data'::text) = 'object' THEN
            v_event := v_event -> 'data'::text;
        END IF;
        RETURN pg_catalog.to_json(v_event);
    END IF;

    v_document := protect_json_escapes(v_event #>> '{}'::text[])::json;
    IF pg_catalog.json_typeof(v_document -> 'data'::text) = 'object' THEN
        v_document := v_document -> 'data'::text;
    END IF;
    RETURN restore_json_escapes(v_document::text)::json;
EXCEPTION
    WHEN invalid_text_representation OR statement_too_complex THEN RETURN NULL;
END;
$$;

COMMENT ON FUNCTION get_odd_step_result(jsonb) IS
'The full result that a transition''s metadata holds, where json cannot search the event.';
