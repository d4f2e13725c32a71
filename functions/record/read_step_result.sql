-- What a worker result says of itself: the one reading of a transition's metadata.
--
--     SELECT r.* FROM tasker_workflow_step_transitions AS t, read_step_result(t.to_state, t.metadata) AS r;
--
-- The event is an object, or JSON text of one; the result is its member data where that is an
-- object, else the event itself. A field that cannot be read is NULL (success: what the state says)
-- and stands in anomalies, an array of {field, raw_value, reason} that is NULL where all could be
-- read. Nothing can fail the caller. What is as it should be is read here, in one guard; wherever
-- something is not, read_odd_step_result() reads it all again, each field alone. There is one for each
-- type that the engine's column may have; the type of the argument tells which is meant.

CREATE OR REPLACE FUNCTION read_step_result(
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
    v_metadata jsonb;
    v_event jsonb;
    v_success jsonb;
    v_time jsonb;
    v_is_odd boolean;
BEGIN
    BEGIN
        -- A large value is compressed or out of line; this takes it out once and not for each member.
        v_metadata := p_metadata || '{}'::jsonb;
        IF pg_catalog.jsonb_typeof(v_metadata -> 'event'::text) <> 'string' THEN
            v_event := v_metadata -> 'event'::text;
        ELSIF pg_catalog.pg_column_size(v_metadata) > 4000 THEN
            v_event := drop_event_result(v_metadata ->> 'event'::text)::jsonb;
        ELSE
            v_event := (v_metadata ->> 'event'::text)::jsonb;
        END IF;

        -- Only an object has such a path. Where there is none, data is to be looked at.
        v_success := v_event #> '{data,success}'::text[];
        v_time := v_event #> '{data,metadata,execution_time_ms}'::text[];
        IF v_success IS NULL AND pg_catalog.jsonb_typeof(v_event -> 'data'::text) IS DISTINCT FROM 'object' THEN
            v_success := v_event -> 'success'::text;
            v_time := v_event #> '{metadata,execution_time_ms}'::text[];
        END IF;

        v_is_odd := pg_catalog.jsonb_typeof(v_event) IS DISTINCT FROM 'object'
            OR pg_catalog.jsonb_typeof(v_metadata -> 'worker_uuid'::text) <> 'string'
            OR pg_catalog.jsonb_typeof(v_metadata -> 'correlation_id'::text) <> 'string'
            OR pg_catalog.jsonb_typeof(v_success) <> 'boolean'
            OR pg_catalog.jsonb_typeof(v_time) <> 'number'
            OR v_time < '0'::jsonb;
        IF v_is_odd IS NOT TRUE THEN
            worker_uuid := (v_metadata ->> 'worker_uuid'::text)::uuid;
            correlation_id := (v_metadata ->> 'correlation_id'::text)::uuid;
            success := coalesce(v_success::boolean, p_to_state = 'enqueued_for_orchestration');
            execution_time_ms := v_time::bigint;
            RETURN;
        END IF;
    EXCEPTION
        WHEN
            invalid_text_representation OR untranslatable_character OR feature_not_supported
            OR statement_too_complex OR numeric_value_out_of_range
            OR program_limit_exceeded OR out_of_memory OR internal_error
        THEN NULL;
    END;

    SELECT r.* INTO worker_uuid, correlation_id, success, execution_time_ms, anomalies
    FROM read_odd_step_result(p_to_state, coalesce(v_metadata, p_metadata)) AS r;
END;
$$;

COMMENT ON FUNCTION read_step_result(text, jsonb) IS
'What a worker result says of itself: the one reading of a transition''s metadata.';

CREATE OR REPLACE FUNCTION read_step_result(
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
    v_metadata jsonb;
BEGIN
    BEGIN
        v_metadata := p_metadata::jsonb;
    EXCEPTION
        WHEN
            invalid_text_representation OR untranslatable_character OR feature_not_supported
            OR statement_too_complex OR numeric_value_out_of_range
            OR program_limit_exceeded OR out_of_memory OR internal_error
        THEN
            SELECT r.* INTO worker_uuid, correlation_id, success, execution_time_ms, anomalies
            FROM read_odd_step_result(p_to_state, p_metadata) AS r;
            RETURN;
    END;

    SELECT r.* INTO worker_uuid, correlation_id, success, execution_time_ms, anomalies
    FROM read_step_result(p_to_state, v_metadata) AS r;
END;
$$;

COMMENT ON FUNCTION read_step_result(text, json) IS
'What a worker result says of itself, where the transition''s metadata is json.';
