-- Writes the audit row of a worker result, in the transaction that records the result; and of what an
-- operator does to a step, an event.
--
-- The function of the trigger on the engine's transitions. It runs with the rights of its owner, who
-- is the owner of the engine's tables, so that the engine's role needs none on the audit tables.
-- Whatever a transition holds, it is audited and the unreadable recorded as an anomaly. Where no audit
-- row can be written, as the result has one already or its step is unknown, an event says so and the
-- engine goes on; what came again is kept among the changes too. It only appends: to read rows of ours
-- would fail transactions under SERIALIZABLE.
-- Others may create functions and operators in the engine's schema. So here, and in what is called
-- from here, arguments have the exact types and variadic functions their schema: nothing in the
-- schema can then be a better match than what is meant.

CREATE OR REPLACE FUNCTION create_step_result_audit()
RETURNS trigger
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
    v_metadata jsonb;
    v_event jsonb;
    v_worker uuid;
    v_correlation uuid;
    v_success boolean;
    v_time bigint;
    v_anomalies jsonb;
    v_audit_uuid uuid;
    v_anomaly record;
    v_action text;
    v_came_again boolean;
BEGIN
    IF is_worker_result(NEW.to_state::text) IS NOT TRUE THEN
        -- Only where an operator may have led to, the event is looked at. Each of these is a condition of
        -- its own: all that a condition calls costs 2,000 instructions each in every transaction anew, even
        -- where it is not reached in it.
        IF NEW.to_state::text IN ('complete', 'cancelled', 'resolved_manually', 'pending') THEN
            IF NEW.to_state::text = 'complete' THEN
                IF NEW.from_state::text IN (
                    'enqueued_for_orchestration', 'enqueued_as_error_for_orchestration', 'in_progress'
                ) THEN
                    IF is_engine_event(NEW.metadata) THEN
                        RETURN NULL;
                    END IF;
                END IF;
            ELSIF NEW.to_state::text = 'pending' THEN
                IF NEW.from_state::text <> 'error' THEN
                    RETURN NULL;
                END IF;
                IF is_engine_event(NEW.metadata) THEN
                    RETURN NULL;
                END IF;
            END IF;
            v_action := get_operator_action(
                NEW.from_state::text, NEW.to_state::text, read_event_type(NEW.metadata)
            );
            IF v_action IS NOT NULL THEN
                PERFORM record_operator_action(
                    NEW.workflow_step_transition_uuid, NEW.workflow_step_uuid, v_action,
                    NEW.from_state::text, NEW.to_state::text, read_operator_claims(NEW.metadata)
                );
            END IF;
        END IF;
        RETURN NULL;
    END IF;

    -- What the engine writes is read here, and all else by read_step_result(). Few expressions, and few
    -- functions in them: each is prepared anew in every transaction, an expression for 2,000 instructions.
    BEGIN
        -- What is long, and compressed or out of line, would be taken out for each of its members.
        v_metadata := CASE WHEN pg_catalog.pg_column_size(NEW.metadata) <= 4000 THEN NEW.metadata END;
        v_event := CASE
            WHEN pg_catalog.jsonb_typeof(v_metadata -> 'event'::text) = 'string'
                THEN (v_metadata ->> 'event'::text)::jsonb
            ELSE v_metadata -> 'event'::text
        END;
        -- Only what is a string is printed: all else may be a gigabyte as text, or 32 digits, which is a UUID.
        v_worker := CASE
            WHEN pg_catalog.jsonb_typeof(v_metadata -> 'worker_uuid'::text) = 'string'
                THEN (v_metadata ->> 'worker_uuid'::text)::uuid
        END;
        v_correlation := CASE
            WHEN pg_catalog.jsonb_typeof(v_metadata -> 'correlation_id'::text) = 'string'
                THEN (v_metadata ->> 'correlation_id'::text)::uuid
        END;
        v_time := (v_event #> '{data,metadata,execution_time_ms}'::text[])::bigint;
        -- Last, as it tells that all was read. A time of -0.4 ms is negative, and would be read as 0.
        v_success := CASE
            WHEN
                v_event #> '{data,metadata,execution_time_ms}'::text[] >= '0'::jsonb
                AND v_worker IS NOT NULL
                AND v_correlation IS NOT NULL
                AND NEW.workflow_step_transition_uuid IS NOT NULL
                THEN (v_event #> '{data,success}'::text[])::boolean
        END;
    EXCEPTION
        WHEN
            invalid_text_representation OR invalid_parameter_value OR untranslatable_character
            OR feature_not_supported OR statement_too_complex OR numeric_value_out_of_range
            OR program_limit_exceeded OR out_of_memory OR internal_error
        THEN NULL;
    END;

    -- Two of the same, as to give back the key, and to look at the transition's, take 7,000 instructions.
    IF v_success IS NOT NULL THEN
        INSERT INTO tasker_workflow_step_result_audit (
            workflow_step_uuid, workflow_step_transition_uuid, task_uuid,
            worker_uuid, correlation_id, success, execution_time_ms
        )
        SELECT
            s.workflow_step_uuid,
            NEW.workflow_step_transition_uuid,
            s.task_uuid,
            v_worker,
            v_correlation,
            v_success,
            v_time
        FROM tasker_workflow_steps AS s
        WHERE
            s.workflow_step_uuid = NEW.workflow_step_uuid
            AND s.task_uuid IS NOT NULL
        ON CONFLICT (workflow_step_transition_uuid, workflow_step_uuid) DO NOTHING;
    ELSE
        SELECT r.* INTO v_worker, v_correlation, v_success, v_time, v_anomalies
        FROM read_step_result(NEW.to_state::text, NEW.metadata) AS r;
        INSERT INTO tasker_workflow_step_result_audit (
            workflow_step_uuid, workflow_step_transition_uuid, task_uuid,
            worker_uuid, correlation_id, success, execution_time_ms
        )
        SELECT
            s.workflow_step_uuid,
            NEW.workflow_step_transition_uuid,
            s.task_uuid,
            v_worker,
            v_correlation,
            v_success,
            v_time
        FROM tasker_workflow_steps AS s
        WHERE
            s.workflow_step_uuid = NEW.workflow_step_uuid
            AND s.task_uuid IS NOT NULL
            AND NEW.workflow_step_transition_uuid IS NOT NULL
        ON CONFLICT (workflow_step_transition_uuid, workflow_step_uuid) DO NOTHING
        RETURNING workflow_step_result_audit_uuid INTO v_audit_uuid;
    END IF;

    IF NOT FOUND THEN
        v_came_again := NEW.workflow_step_transition_uuid IS NOT NULL AND EXISTS (
            SELECT FROM tasker_workflow_steps AS s
            WHERE s.workflow_step_uuid = NEW.workflow_step_uuid AND s.task_uuid IS NOT NULL
        );
        INSERT INTO step_audit_events (kind, workflow_step_uuid, workflow_step_transition_uuid)
        VALUES (
            CASE WHEN v_came_again THEN 'result came again' ELSE 'result without step' END,
            NEW.workflow_step_uuid,
            NEW.workflow_step_transition_uuid
        );
        IF v_came_again THEN
            PERFORM keep_step_audit_version(
                'insert'::text,
                NEW.workflow_step_transition_uuid,
                NEW.workflow_step_uuid,
                NEW.from_state::text,
                NEW.to_state::text,
                0::bigint + NEW.sort_key,
                get_utc_time(NEW.created_at),
                NEW.metadata
            );
        END IF;
    ELSIF v_anomalies IS NOT NULL THEN
        FOR v_anomaly IN
            SELECT
                f.field,
                f.raw_value,
                f.reason
            FROM pg_catalog.jsonb_to_recordset(v_anomalies) AS f (field text, raw_value text, reason text)
        LOOP
            INSERT INTO tasker_workflow_step_result_audit_anomalies (
                workflow_step_result_audit_uuid, field, raw_value, reason
            )
            VALUES (v_audit_uuid, v_anomaly.field, v_anomaly.raw_value, v_anomaly.reason);
        END LOOP;
    END IF;

    RETURN NULL;
END;
$$;

-- Whoever may execute a trigger function may attach it to a table of his own and forge audit rows.
REVOKE EXECUTE ON FUNCTION create_step_result_audit() FROM public;

COMMENT ON FUNCTION create_step_result_audit() IS
'Trigger function: writes the audit row of a worker result in the transaction that records it.';
