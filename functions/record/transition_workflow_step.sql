-- Moves a workflow step to another state: one row more in the engine's transitions, and in the step
-- what the engine's worker sets with it.
--
--     SELECT * FROM transition_workflow_step('0199f3a2-...', '{enqueued,pending}', 'in_progress', '{}');
--
-- p_from_states: where it may come from; a step without transitions is pending. Gives the state it
-- came from, and the new transition; NULL for that, and nothing written, where it may not. An unknown
-- step gives no row. Locks the step until the transaction ends, so that callers take turns.
-- A result that jsonb cannot hold leaves the step's results NULL: the transition has it.
-- The row goes through text into the engine's own column types. The engine's triggers on its table may
-- name its tables without their schema, so that stands in the search_path too.

CREATE OR REPLACE FUNCTION transition_workflow_step(
    p_step_uuid uuid,
    p_from_states text[],
    p_to_state text,
    p_metadata jsonb
)
RETURNS TABLE (from_state text, transition_uuid uuid, sort_key bigint)
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    v_now text := to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"');
    v_current_uuid uuid;
    v_update text;
    v_result text;
BEGIN
    PERFORM set_config('search_path', format('%I, %I, pg_temp', current_schema(), e.schema_name), TRUE)
    FROM find_workflow_engine() AS e
    WHERE e.schema_name <> current_schema();

    PERFORM FROM tasker_workflow_steps AS s
    WHERE s.workflow_step_uuid = p_step_uuid
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;

    SELECT t.workflow_step_transition_uuid, t.to_state::text, 1::bigint + t.sort_key
    INTO v_current_uuid, from_state, sort_key
    FROM tasker_workflow_step_transitions AS t
    WHERE t.workflow_step_uuid = p_step_uuid AND t.most_recent;

    from_state := coalesce(from_state, 'pending');
    IF from_state = ANY(p_from_states) THEN
        sort_key := coalesce(sort_key, 0);
        -- By its key: the successor that an engine without this lock has written meanwhile stays
        -- the most recent, and the INSERT fails on it.
        UPDATE tasker_workflow_step_transitions AS t
        SET
            most_recent = FALSE,
            updated_at = r.updated_at
        FROM jsonb_populate_record(
            NULL::tasker_workflow_step_transitions, jsonb_build_object('updated_at', v_now)
        ) AS r
        WHERE t.workflow_step_transition_uuid = v_current_uuid;

        INSERT INTO tasker_workflow_step_transitions AS t (
            workflow_step_uuid, from_state, to_state, metadata, sort_key, most_recent, created_at, updated_at
        )
        SELECT
            r.workflow_step_uuid,
            r.from_state,
            r.to_state,
            r.metadata,
            r.sort_key,
            r.most_recent,
            r.created_at,
            r.updated_at
        FROM jsonb_populate_record(
            NULL::tasker_workflow_step_transitions,
            jsonb_build_object(
                'workflow_step_uuid', p_step_uuid,
                'from_state', from_state,
                'to_state', p_to_state,
                'metadata', p_metadata,
                'sort_key', sort_key,
                'most_recent', TRUE,
                'created_at', v_now,
                'updated_at', v_now
            )
        ) AS r
        RETURNING t.workflow_step_transition_uuid INTO transition_uuid;

        v_update := get_workflow_step_update(p_to_state);
        IF v_update IS NOT NULL THEN
            BEGIN
                v_result := get_step_result(p_metadata)::text;
                PERFORM v_result::jsonb;
            EXCEPTION
                WHEN
                    invalid_text_representation OR untranslatable_character OR feature_not_supported
                    OR statement_too_complex OR numeric_value_out_of_range
                    OR program_limit_exceeded OR out_of_memory OR internal_error
                THEN v_result := NULL;
            END;
            EXECUTE format('%s', v_update) USING p_step_uuid, v_result;
        END IF;
    END IF;
    RETURN NEXT;
END;
$$;

COMMENT ON FUNCTION transition_workflow_step(uuid, text[], text, jsonb) IS
'Moves a workflow step to another state if it is in one of those it may come from.';
