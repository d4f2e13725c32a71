-- What the event of a transition calls itself: Complete, CompleteManually, Retry and so on.
--
--     SELECT read_event_type(t.metadata) FROM tasker_workflow_step_transitions AS t;
--
-- The member type of the event, which is an object or JSON text of one. The engine's text begins with
-- it, and then nothing else is read, however long or broken the rest is: an ordinary Complete is read
-- with every step. NULL where the event has none, or cannot be read. Nothing can fail the caller. There
-- is one for each type that the engine's column may have; the type of the argument tells which is meant.

CREATE OR REPLACE FUNCTION read_event_type(p_metadata jsonb)
RETURNS text
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_event jsonb := p_metadata -> 'event'::text;
    v_type text;
    v_text text;
BEGIN
    IF pg_catalog.jsonb_typeof(v_event) = 'string' THEN
        v_text := v_event #>> '{}'::text[];
        v_type := pg_catalog.substring(
            pg_catalog.left(v_text, 100), '^[[:space:]]*{[[:space:]]*"type"[[:space:]]*:[[:space:]]*"([A-Za-z]+)"'::text
        );
        IF v_type IS NOT NULL THEN
            RETURN v_type;
        END IF;
        v_event := protect_json_escapes(v_text)::jsonb;
    END IF;
    IF pg_catalog.jsonb_typeof(v_event -> 'type'::text) = 'string' THEN
        RETURN pg_catalog.left(v_event ->> 'type'::text, 100);
    END IF;
    RETURN NULL;
EXCEPTION
    WHEN
        invalid_text_representation OR untranslatable_character OR feature_not_supported
        OR statement_too_complex OR numeric_value_out_of_range
        OR program_limit_exceeded OR out_of_memory OR internal_error
    THEN RETURN NULL;
END;
$$;

COMMENT ON FUNCTION read_event_type(jsonb) IS
'What the event of a transition calls itself.';

CREATE OR REPLACE FUNCTION read_event_type(p_metadata json)
RETURNS text
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_document json;
    v_event json;
    v_text text;
BEGIN
    v_document := protect_json_escapes(p_metadata::text)::json;
    v_event := v_document -> 'event'::text;
    -- Not read_json_event(), which looks at the whole text, and it may be broken behind its type.
    IF pg_catalog.json_typeof(v_event) = 'string' THEN
        v_text := v_document ->> 'event'::text;
    ELSE
        v_text := v_event::text;
    END IF;
    RETURN read_event_type(pg_catalog.jsonb_build_object('event', restore_json_escapes(v_text)));
EXCEPTION
    WHEN
        invalid_text_representation OR statement_too_complex
        OR program_limit_exceeded OR out_of_memory OR internal_error
    THEN RETURN NULL;
END;
$$;

COMMENT ON FUNCTION read_event_type(json) IS
'What the event of a transition calls itself, where the transition''s metadata is json.';
