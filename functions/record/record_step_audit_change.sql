-- Keeps what stood in the transition of a worker result before an UPDATE or DELETE.
--
-- The function of a trigger on the engine's transitions, with its owner's rights. What is set to the
-- same value records nothing: values are compared byte by byte, as 1.0 and 1.00 are equal to jsonb and
-- print differently. Metadata is copied as it is stored, and never printed or parsed. It only appends,
-- and opens no subtransaction: a million rows cost one transaction id.
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
