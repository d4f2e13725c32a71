-- Keeps what stood in the transition of a worker result before an UPDATE or DELETE.
--
-- The function of a trigger on the engine's transitions, with its owner's rights. What is set to the
-- same value records nothing: values are compared byte by byte, as 1.0 and 1.00 are equal to jsonb and
-- print differently. Metadata is copied as it is stored, and never printed or parsed. It only appends,
-- and opens no subtransaction: a million rows cost one transaction id.
-- Of an erasure it keeps nothing: where the setting step_audit.erasing is on, which anybody may do, an
-- event 'erased' of the same transaction must name the transition, and nothing but metadata go.
-- Without the setting no table of ours is read.
-- As in create_step_result_audit(), arguments have the exact types.

CREATE OR REPLACE FUNCTION record_step_audit_change()
RETURNS trigger
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
    IF is_worker_result(OLD.to_state::text) IS NOT TRUE THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE'::text THEN
        IF
            ROW(
                OLD.workflow_step_transition_uuid, OLD.workflow_step_uuid, OLD.from_state, OLD.to_state,
                OLD.sort_key, OLD.created_at, OLD.metadata
            )::record
            OPERATOR(pg_catalog.*=)
            ROW(
                NEW.workflow_step_transition_uuid, NEW.workflow_step_uuid, NEW.from_state, NEW.to_state,
                NEW.sort_key, NEW.created_at, NEW.metadata
            )::record
        THEN
            RETURN NULL;
        END IF;
        IF pg_catalog.current_setting('step_audit.erasing'::text, TRUE) = 'on'::text THEN
            IF
                is_erased_metadata(NEW.metadata)
                AND ROW(
                    OLD.workflow_step_transition_uuid, OLD.workflow_step_uuid, OLD.from_state, OLD.to_state,
                    OLD.sort_key, OLD.created_at
                )::record
                OPERATOR(pg_catalog.*=)
                ROW(
                    NEW.workflow_step_transition_uuid, NEW.workflow_step_uuid, NEW.from_state, NEW.to_state,
                    NEW.sort_key, NEW.created_at
                )::record
                AND EXISTS (
                    SELECT FROM step_audit_events AS e
                    WHERE
                        e.workflow_step_transition_uuid = OLD.workflow_step_transition_uuid
                        AND e.kind = 'erased'
                        AND e.recorded_xid = pg_current_xact_id()::text::bigint
                )
            THEN
                RETURN NULL;
            END IF;
        END IF;
    END IF;

    IF pg_catalog.pg_typeof(OLD.metadata) OPERATOR(pg_catalog.=) 'jsonb'::regtype THEN
        INSERT INTO step_audit_changes (
            operation, workflow_step_transition_uuid, workflow_step_uuid, from_state, to_state, sort_key,
            transition_created_at, metadata
        )
        VALUES (
            pg_catalog.lower(TG_OP::text), OLD.workflow_step_transition_uuid, OLD.workflow_step_uuid,
            OLD.from_state::text, OLD.to_state::text, OLD.sort_key, get_utc_time(OLD.created_at), OLD.metadata
        );
    ELSE
        INSERT INTO step_audit_changes (
            operation, workflow_step_transition_uuid, workflow_step_uuid, from_state, to_state, sort_key,
            transition_created_at, metadata_json
        )
        VALUES (
            pg_catalog.lower(TG_OP::text), OLD.workflow_step_transition_uuid, OLD.workflow_step_uuid,
            OLD.from_state::text, OLD.to_state::text, OLD.sort_key, get_utc_time(OLD.created_at), OLD.metadata
        );
    END IF;
    RETURN NULL;
END;
$$;

-- Whoever may execute a trigger function may attach it to a table of his own and forge changes.
REVOKE EXECUTE ON FUNCTION record_step_audit_change() FROM public;

COMMENT ON FUNCTION record_step_audit_change() IS
'Trigger function: keeps what stood in the transition of a worker result before an UPDATE or DELETE.';
