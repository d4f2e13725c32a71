-- What the event of an operator action claims of who did it and why.
--
--     SELECT read_operator_claims('{"event": {"type": "Cancel", "data": {"reason": "asked for"}}}'::jsonb);
--
-- Texts under known names, in the event, its data, the data's metadata and their custom, the outermost
-- first; a text that is the data itself stands as data. Each is cut at 200 characters. They are copied
-- and proven by nothing: the engine lets its callers say what they like. Nothing there: an empty object.
-- NULL: the event cannot be read. Nothing can fail the caller. There is one for each type that the
-- engine's column may have; the type of the argument tells which is meant.

CREATE OR REPLACE FUNCTION read_operator_claims(p_metadata jsonb)
RETURNS jsonb
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_event jsonb := p_metadata -> 'event'::text;
    v_text text;
    v_is_protected boolean := FALSE;
    v_claims jsonb;
BEGIN
    IF pg_catalog.jsonb_typeof(v_event) = 'string' THEN
        v_text := v_event #>> '{}'::text[];
        BEGIN
            v_event := v_text::jsonb;
        EXCEPTION
            -- What jsonb cannot hold of a text, it can where it is marked.
            WHEN invalid_text_representation OR untranslatable_character OR feature_not_supported THEN
                v_event := protect_json_escapes(v_text)::jsonb;
                v_is_protected := TRUE;
        END;
    END IF;

    SELECT
        pg_catalog.jsonb_object_agg(
            c.name,
            CASE
                WHEN v_is_protected THEN pg_catalog.left(
                    restore_json_escapes(pg_catalog.left(c.claim #>> '{}'::text[], 200)), 200
                )
                ELSE pg_catalog.left(c.claim #>> '{}'::text[], 200)
            END
            ORDER BY c.depth DESC
        )
    INTO v_claims
    FROM (
        SELECT
            n.name,
            o.depth,
            o.found -> n.name AS claim
        FROM (
            VALUES
            (1, v_event),
            (2, v_event -> 'data'::text),
            (3, v_event #> '{data,metadata}'::text[]),
            (4, v_event #> '{data,metadata,custom}'::text[])
        ) AS o (depth, found)
        CROSS JOIN pg_catalog.unnest(
            '{
                operator, by, performed_by, requested_by, reset_by, resolved_by, completed_by, cancelled_by,
                reason, reset_reason, resolution_reason, completion_reason, cancellation_reason
            }'::text[]
        ) AS n (name)
        UNION ALL
        SELECT
            'data'::text,
            1,
            v_event -> 'data'::text
    ) AS c
    WHERE pg_catalog.jsonb_typeof(c.claim) = 'string';

    RETURN coalesce(v_claims, '{}'::jsonb);
EXCEPTION
    WHEN
        invalid_text_representation OR untranslatable_character OR feature_not_supported
        OR statement_too_complex OR numeric_value_out_of_range
        OR program_limit_exceeded OR out_of_memory OR internal_error
    THEN RETURN NULL;
END;
$$;

COMMENT ON FUNCTION read_operator_claims(jsonb) IS
'What the event of an operator action claims of who did it and why.';

CREATE OR REPLACE FUNCTION read_operator_claims(p_metadata json)
RETURNS jsonb
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
BEGIN
    RETURN read_operator_claims(
        pg_catalog.jsonb_build_object('event', read_json_event(protect_json_escapes(p_metadata::text)::json))
    );
EXCEPTION
    WHEN
        invalid_text_representation OR statement_too_complex
        OR program_limit_exceeded OR out_of_memory OR internal_error
    THEN RETURN NULL;
END;
$$;

COMMENT ON FUNCTION read_operator_claims(json) IS
'What the event of an operator action claims, where the transition''s metadata is json.';
