-- The full result that a transition's metadata holds, as the worker reported it.
--
--     SELECT get_step_result(t.metadata, t.workflow_step_transition_uuid) FROM tasker_workflow_step_transitions AS t;
--
-- json and not jsonb, so that every \u0000 and every digit stays. NULL where there is no event, or
-- one that is not JSON. It never raises: where the result cannot be printed, as its text would be larger
-- than a value may be, it is NULL too, and a warning names p_transition_uuid. There is one for each type
-- that the engine's column may have; the type of the argument tells which is meant.

CREATE OR REPLACE FUNCTION get_step_result(p_metadata jsonb, p_transition_uuid uuid DEFAULT NULL)
RETURNS json
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_event jsonb := p_metadata -> 'event'::text;
    v_text text;
    v_document json;
    v_data json;
BEGIN
    IF pg_catalog.jsonb_typeof(v_event) = 'string' THEN
        v_text := v_event #>> '{}'::text[];
        v_document := v_text::json;
        v_data := v_document -> 'data'::text;
        IF pg_catalog.json_typeof(v_data) = 'object' THEN
            RETURN v_data;
        END IF;
        RETURN v_document;
    END IF;

    IF pg_catalog.jsonb_typeof(v_event -> 'data'::text) = 'object' THEN
        v_event := v_event -> 'data'::text;
    END IF;
    RETURN pg_catalog.to_json(v_event);
EXCEPTION
    WHEN invalid_text_representation OR untranslatable_character OR feature_not_supported THEN
        RETURN get_odd_step_result(v_text, p_transition_uuid);
    WHEN statement_too_complex OR program_limit_exceeded OR out_of_memory OR internal_error THEN
        RAISE WARNING 'the result of transition % cannot be printed', p_transition_uuid
            USING DETAIL = sqlerrm;
        RETURN NULL;
END;
$$;

COMMENT ON FUNCTION get_step_result(jsonb, uuid) IS
'The full result that a transition''s metadata holds, as json; NULL where it holds none.';

CREATE OR REPLACE FUNCTION get_step_result(p_metadata json, p_transition_uuid uuid DEFAULT NULL)
RETURNS json
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_document json;
    v_data json;
BEGIN
    BEGIN
        v_document := p_metadata -> 'event'::text;
        IF pg_catalog.json_typeof(v_document) = 'string' THEN
            v_document := (p_metadata ->> 'event'::text)::json;
        END IF;
        v_data := v_document -> 'data'::text;
        IF pg_catalog.json_typeof(v_data) = 'object' THEN
            RETURN v_data;
        END IF;
        RETURN v_document;
    EXCEPTION
        WHEN invalid_text_representation OR untranslatable_character OR feature_not_supported THEN NULL;
    END;

    v_document := protect_json_escapes(p_metadata::text)::json;
    RETURN get_odd_step_result(read_json_event(v_document), p_transition_uuid);
EXCEPTION
    WHEN invalid_text_representation THEN RETURN NULL;
    WHEN statement_too_complex OR program_limit_exceeded OR out_of_memory OR internal_error THEN
        RAISE WARNING 'the result of transition % cannot be printed', p_transition_uuid
            USING DETAIL = sqlerrm;
        RETURN NULL;
END;
$$;

COMMENT ON FUNCTION get_step_result(json, uuid) IS
'The full result that a transition''s metadata of type json holds; NULL where it holds none.';
