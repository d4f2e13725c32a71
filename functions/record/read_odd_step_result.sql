-- What a worker result says of itself where something in it is odd: read_step_result() for the rest.
--
--     SELECT r.* FROM read_odd_step_result('enqueued_for_orchestration', '{"worker_uuid": "me"}'::jsonb) AS r;
--
-- It gives for any metadata what read_step_result() does, but slowly: each field is read alone, in a
-- guard of its own, so that a bad one spoils no other. Only what an anomaly needs is printed. The second
-- reads metadata of type json that jsonb cannot hold: it makes of it metadata that jsonb can hold, with
-- the event as a text, for the first to read.

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
    v_worker jsonb := p_metadata -> 'worker_uuid'::text;
    v_correlation jsonb := p_metadata -> 'correlation_id'::text;
    v_whole jsonb := p_metadata -> 'event'::text;
    v_event jsonb := v_whole;
    v_text text;
    v_is_protected boolean := FALSE;
    v_success jsonb;
    v_time jsonb;
    v_event_fault text;
    v_success_fault text;
    v_time_fault text;
    v_worker_fault text;
    v_correlation_fault text;
BEGIN
    IF pg_catalog.jsonb_typeof(v_whole) = 'string' THEN
        BEGIN
            v_text := v_whole #>> '{}'::text[];
            v_event := v_text::jsonb;
        EXCEPTION
            WHEN
                invalid_text_representation OR untranslatable_character OR feature_not_supported
                OR statement_too_complex OR numeric_value_out_of_range
                OR program_limit_exceeded OR out_of_memory OR internal_error
            THEN
                v_is_protected := TRUE;
                SELECT o.event, o.fault INTO v_event, v_event_fault FROM read_odd_event(v_text) AS o;
        END;
    END IF;
    IF v_event_fault IS NULL AND pg_catalog.jsonb_typeof(v_event) NOT IN ('object', 'null') THEN
        v_event_fault := 'not an object';
    END IF;

    IF pg_catalog.jsonb_typeof(v_event -> 'data'::text) = 'object' THEN
        v_event := v_event -> 'data'::text;
    END IF;
    v_success := v_event -> 'success'::text;
    v_time := v_event #> '{metadata,execution_time_ms}'::text[];

    IF pg_catalog.jsonb_typeof(v_success) IN ('object', 'array') THEN
        v_success_fault := 'not a boolean';
    ELSE
        BEGIN
            success := (v_success #>> '{}'::text[])::boolean;
        EXCEPTION
            WHEN
                invalid_text_representation OR program_limit_exceeded OR out_of_memory OR internal_error
            THEN v_success_fault := 'not a boolean';
        END;
    END IF;
    IF success IS NULL THEN
        success := p_to_state = 'enqueued_for_orchestration';
    END IF;

    IF pg_catalog.jsonb_typeof(v_time) IN ('object', 'array', 'boolean') THEN
        v_time_fault := 'not a number';
    ELSE
        BEGIN
            v_text := v_time #>> '{}'::text[];
            -- Digits, sign, point and exponent only: what else reads as a number differs between versions.
            IF v_text ~ '[^-+.0-9eE[:space:]]' THEN
                v_time_fault := 'not a number';
            ELSIF v_text::numeric < 0::numeric THEN
                v_time_fault := 'negative';
            ELSE
                execution_time_ms := pg_catalog.round(v_text::numeric)::bigint;
            END IF;
        EXCEPTION
            WHEN
                invalid_text_representation OR program_limit_exceeded OR out_of_memory OR internal_error
            THEN v_time_fault := 'not a number';
            WHEN numeric_value_out_of_range THEN v_time_fault := 'out of range';
        END;
    END IF;

    IF pg_catalog.jsonb_typeof(v_worker) = 'string' THEN
        BEGIN
            worker_uuid := (v_worker #>> '{}'::text[])::uuid;
        EXCEPTION
            WHEN
                invalid_text_representation OR program_limit_exceeded OR out_of_memory OR internal_error
            THEN v_worker_fault := 'not a UUID';
        END;
    ELSIF pg_catalog.jsonb_typeof(v_worker) <> 'null' THEN
        v_worker_fault := 'not a UUID';
    END IF;

    IF pg_catalog.jsonb_typeof(v_correlation) = 'string' THEN
        BEGIN
            correlation_id := (v_correlation #>> '{}'::text[])::uuid;
        EXCEPTION
            WHEN
                invalid_text_representation OR program_limit_exceeded OR out_of_memory OR internal_error
            THEN v_correlation_fault := 'not a UUID';
        END;
    ELSIF pg_catalog.jsonb_typeof(v_correlation) <> 'null' THEN
        v_correlation_fault := 'not a UUID';
    END IF;

    IF coalesce(
        v_event_fault, v_success_fault, v_time_fault, v_worker_fault, v_correlation_fault
    ) IS NOT NULL THEN
        SELECT
            pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                'field', f.field,
                'raw_value', CASE
                    WHEN f.is_protected
                        THEN pg_catalog.left(restore_json_escapes(read_raw_value(f.raw_value)), 200)
                    ELSE read_raw_value(f.raw_value)
                END,
                'reason', f.reason
            ))
        INTO anomalies
        FROM (
            VALUES
            ('event', v_whole, v_event_fault, FALSE),
            ('success', v_success, v_success_fault, v_is_protected),
            ('execution_time_ms', v_time, v_time_fault, v_is_protected),
            ('worker_uuid', v_worker, v_worker_fault, FALSE),
            ('correlation_id', v_correlation, v_correlation_fault, FALSE)
        ) AS f (field, raw_value, reason, is_protected)
        WHERE f.reason IS NOT NULL;
    END IF;
END;
$$;

COMMENT ON FUNCTION read_odd_step_result(text, jsonb) IS
'What a worker result says of itself, each field read alone, where something in it is odd.';

CREATE OR REPLACE FUNCTION read_odd_step_result(
    p_to_state text,
    p_metadata json,
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
    v_document json;
    v_event text;
    v_worker text;
    v_correlation text;
    v_metadata jsonb;
    v_fault text;
BEGIN
    BEGIN
        v_document := protect_json_escapes(p_metadata::text)::json;
        v_event := v_document ->> 'event'::text;
        v_worker := v_document ->> 'worker_uuid'::text;
        v_correlation := v_document ->> 'correlation_id'::text;
        -- Only a string can be a UUID; null is as if it was not there; false is neither.
        v_metadata := pg_catalog.jsonb_build_object(
            'event', read_json_event(v_document),
            'worker_uuid', CASE
                WHEN pg_catalog.json_typeof(v_document -> 'worker_uuid'::text) = 'string'
                    THEN pg_catalog.to_jsonb(v_worker)
                WHEN v_worker IS NOT NULL THEN 'false'::jsonb
            END,
            'correlation_id', CASE
                WHEN pg_catalog.json_typeof(v_document -> 'correlation_id'::text) = 'string'
                    THEN pg_catalog.to_jsonb(v_correlation)
                WHEN v_correlation IS NOT NULL THEN 'false'::jsonb
            END
        );
    EXCEPTION
        WHEN invalid_text_representation THEN v_fault := 'not JSON';
        WHEN statement_too_complex THEN v_fault := 'nested too deeply';
        WHEN program_limit_exceeded OR out_of_memory OR internal_error THEN v_fault := 'too large';
    END;

    IF v_fault IS NOT NULL THEN
        success := p_to_state = 'enqueued_for_orchestration';
        anomalies := pg_catalog.jsonb_build_array(
            pg_catalog.jsonb_build_object('field', 'event', 'raw_value', NULL, 'reason', v_fault)
        );
        RETURN;
    END IF;

    SELECT r.* INTO worker_uuid, correlation_id, success, execution_time_ms, anomalies
    FROM read_odd_step_result(p_to_state, v_metadata) AS r;

    -- What stood in the text, not what was made of it.
    IF anomalies IS NOT NULL THEN
        SELECT
            pg_catalog.jsonb_agg(a.anomaly || pg_catalog.jsonb_build_object(
                'raw_value', CASE a.anomaly -> 'field'::text
                    WHEN '"event"'::jsonb THEN pg_catalog.to_jsonb(
                        pg_catalog.left(restore_json_escapes(pg_catalog.left(v_event, 200)), 200)
                    )
                    WHEN '"worker_uuid"'::jsonb THEN pg_catalog.to_jsonb(
                        pg_catalog.left(restore_json_escapes(pg_catalog.left(v_worker, 200)), 200)
                    )
                    WHEN '"correlation_id"'::jsonb THEN pg_catalog.to_jsonb(
                        pg_catalog.left(restore_json_escapes(pg_catalog.left(v_correlation, 200)), 200)
                    )
                    ELSE a.anomaly -> 'raw_value'::text
                END
            ))
        INTO anomalies
        FROM pg_catalog.jsonb_array_elements(anomalies) AS a (anomaly);
    END IF;
END;
$$;

COMMENT ON FUNCTION read_odd_step_result(text, json) IS
'What a worker result says of itself where its metadata is json that jsonb cannot hold.';
