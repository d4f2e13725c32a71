-- What a worker result says of itself where something in it is odd: read_step_result() for the rest.
--
--     SELECT r.* FROM read_odd_step_result('enqueued_for_orchestration', '{"worker_uuid": "me"}') AS r;
--
-- It gives for any metadata what read_step_result() does, but slowly: each field is read alone, in a
-- guard of its own, so that a bad one spoils no other.

CREATE OR REPLACE FUNCTION read_odd_step_result(
    p_to_state text,
    p_metadata jsonb,
    OUT worker_uuid uuid,
    OUT correlation_id uuid,
    OUT success boolean,
    OUT execution_time_ms bigint,
    OUT anomalies jsonb
)
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    -- A large value is compressed or out of line; this takes it out once and not for each member.
    v_metadata jsonb := p_metadata || '{}'::jsonb;
    v_worker jsonb := v_metadata -> 'worker_uuid'::text;
    v_correlation jsonb := v_metadata -> 'correlation_id'::text;
    v_event jsonb;
    v_text text;
    v_is_odd boolean := FALSE;
    v_success text;
    v_time text;
    v_event_fault text;
    v_success_fault text;
    v_time_fault text;
    v_worker_fault text;
    v_correlation_fault text;
BEGIN
    IF pg_catalog.jsonb_typeof(v_metadata -> 'event'::text) = 'string' THEN
        v_text := v_metadata ->> 'event'::text;
        BEGIN
            v_event := v_text::jsonb;
        EXCEPTION
            WHEN
                invalid_text_representation OR untranslatable_character OR feature_not_supported
                OR statement_too_complex OR numeric_value_out_of_range
            THEN
                v_is_odd := TRUE;
                SELECT o.event, o.fault INTO v_event, v_event_fault FROM read_odd_event(v_text) AS o;
        END;
    ELSE
        v_event := v_metadata -> 'event'::text;
    END IF;
    IF v_event_fault IS NULL AND pg_catalog.jsonb_typeof(v_event) NOT IN ('object', 'null') THEN
        v_event_fault := 'not an object';
    END IF;

    IF pg_catalog.jsonb_typeof(v_event -> 'data'::text) = 'object' THEN
        v_event := v_event -> 'data'::text;
    END IF;
    v_success := v_event ->> 'success'::text;
    v_time := v_event #>> '{metadata,execution_time_ms}'::text[];

    BEGIN
        success := v_success::boolean;
    EXCEPTION
        WHEN invalid_text_representation THEN v_success_fault := 'not a boolean';
    END;
    IF success IS NULL THEN
        success := p_to_state = 'enqueued_for_orchestration';
    END IF;

    -- Digits, sign, point and exponent only: what else reads as a number differs between versions.
    IF v_time ~ '[^-+.0-9eE[:space:]]' THEN
        v_time_fault := 'not a number';
    ELSIF v_time IS NOT NULL THEN
        BEGIN
            IF v_time::numeric < 0::numeric THEN
                v_time_fault := 'negative';
            ELSE
                execution_time_ms := pg_catalog.round(v_time::numeric)::bigint;
            END IF;
        EXCEPTION
            WHEN invalid_text_representation THEN v_time_fault := 'not a number';
            WHEN numeric_value_out_of_range THEN v_time_fault := 'out of range';
        END;
    END IF;

    IF pg_catalog.jsonb_typeof(v_worker) = 'string' THEN
        BEGIN
            worker_uuid := (v_worker #>> '{}'::text[])::uuid;
        EXCEPTION
            WHEN invalid_text_representation THEN v_worker_fault := 'not a UUID';
        END;
    ELSIF pg_catalog.jsonb_typeof(v_worker) <> 'null' THEN
        v_worker_fault := 'not a UUID';
    END IF;

    IF pg_catalog.jsonb_typeof(v_correlation) = 'string' THEN
        BEGIN
            correlation_id := (v_correlation #>> '{}'::text[])::uuid;
        EXCEPTION
            WHEN invalid_text_representation THEN v_correlation_fault := 'not a UUID';
        END;
    ELSIF pg_catalog.jsonb_typeof(v_correlation) <> 'null' THEN
        v_correlation_fault := 'not a UUID';
    END IF;

    IF coalesce(
        v_event_fault, v_success_fault, v_time_fault, v_worker_fault, v_correlation_fault
    ) IS NOT NULL THEN
        -- What protect_json_escapes() changed, as it stood in the text.
        IF v_is_odd THEN
            v_success := pg_catalog.replace(pg_catalog.replace(v_success, E'\\1', E'\\u'), E'\\0', E'\\');
            v_time := pg_catalog.replace(pg_catalog.replace(v_time, E'\\1', E'\\u'), E'\\0', E'\\');
        END IF;
        SELECT
            pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                'field', f.field, 'raw_value', pg_catalog.left(f.raw_value, 200), 'reason', f.reason
            ))
        INTO anomalies
        FROM (
            VALUES
            ('event', p_metadata ->> 'event'::text, v_event_fault),
            ('success', v_success, v_success_fault),
            ('execution_time_ms', v_time, v_time_fault),
            ('worker_uuid', v_worker #>> '{}'::text[], v_worker_fault),
            ('correlation_id', v_correlation #>> '{}'::text[], v_correlation_fault)
        ) AS f (field, raw_value, reason)
        WHERE f.reason IS NOT NULL;
    END IF;
END;
$$;

COMMENT ON FUNCTION read_odd_step_result(text, jsonb) IS
'What a worker result says of itself, each field read alone, where something in it is odd.';
