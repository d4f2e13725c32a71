-- A worker result's event of which jsonb cannot hold the text: \u0000, a lone surrogate, a number
-- beyond numeric, nesting or size beyond jsonb, or no JSON at all.
--
--     SELECT event ->> 'success', fault FROM read_odd_event('{"success": true, "x": 1e1000000}');
--
-- Gives the event with its escapes protected, or only those of its members that are audited, or a
-- fault: why it cannot be read. It is slow, and read_step_result() calls it only where jsonb failed.

CREATE OR REPLACE FUNCTION read_odd_event(
    p_event text,
    OUT event jsonb,
    OUT fault text
)
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_text text;
    v_document json;
BEGIN
    v_text := protect_json_escapes(p_event);
    event := v_text::jsonb;
EXCEPTION
    WHEN invalid_text_representation OR untranslatable_character OR feature_not_supported THEN
        fault := 'not JSON';
    WHEN
        statement_too_complex OR numeric_value_out_of_range
        OR program_limit_exceeded OR out_of_memory OR internal_error
    THEN
        -- json can hold what jsonb cannot, but is slower to search.
        BEGIN
            v_document := v_text::json;
            IF pg_catalog.json_typeof(v_document -> 'data'::text) = 'object' THEN
                v_document := v_document -> 'data'::text;
            END IF;
            IF pg_catalog.json_typeof(v_document) = 'object' THEN
                event := pg_catalog.jsonb_build_object(
                    'success', v_document ->> 'success'::text,
                    'metadata', pg_catalog.jsonb_build_object(
                        'execution_time_ms',
                        v_document -> 'metadata'::text ->> 'execution_time_ms'::text
                    )
                );
            ELSE
                fault := CASE WHEN v_document IS NULL THEN 'too large' ELSE 'not an object' END;
            END IF;
        EXCEPTION
            WHEN invalid_text_representation THEN fault := 'not JSON';
            WHEN statement_too_complex THEN fault := 'nested too deeply';
            WHEN program_limit_exceeded OR out_of_memory OR internal_error THEN fault := 'too large';
        END;
END;
$$;

COMMENT ON FUNCTION read_odd_event(text) IS
'A worker result''s event of which jsonb cannot hold the text: what can be read of it, or why nothing can.';
