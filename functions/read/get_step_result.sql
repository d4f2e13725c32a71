-- The full result that a transition's metadata holds, as the worker reported it.
--
--     SELECT get_step_result(t.metadata) FROM tasker_workflow_step_transitions AS t;
--
-- json and not jsonb, so that every \u0000 and every digit stays. NULL where there is no event, or
-- one that is not JSON; it never raises.

CREATE OR REPLACE FUNCTION get_step_result(p_metadata jsonb, p_transition_uuid uuid DEFAULT NULL)
RETURNS json
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_event json;
    v_data json;
BEGIN
    -- The text of an event that is a string is JSON, and so is that of one that is an object.
    v_event := (p_metadata ->> 'event'::text)::json;
    v_data := v_event -> 'data'::text;
    IF pg_catalog.json_typeof(v_data) = 'object' THEN
        RETURN v_data;
    END IF;
    RETURN coalesce(v_event, pg_catalog.to_json(p_metadata -> 'event'::text));
EXCEPTION
    WHEN invalid_text_representation OR untranslatable_character OR feature_not_supported
        OR statement_too_complex THEN RETURN get_odd_step_result(p_metadata);
END;
$$;

COMMENT ON FUNCTION get_step_result(jsonb, uuid) IS
'The full result that a transition''s metadata holds, as json; NULL where it holds none.';
