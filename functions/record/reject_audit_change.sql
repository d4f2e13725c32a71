-- Refuses to change or remove what is audited and sealed: the guard of each append-only table.
--
-- The function of the triggers trg_append_only, which fire for everybody, the owner included, and
-- under session_replication_role = replica too. It lets go only what an event of the same transaction
-- accounts for: a row that a purge names, see is_step_audit_purged(); where an erasure names the
-- record's leaf, its payload may become NULL, and its salt be deleted. No setting and no role opens it.

CREATE OR REPLACE FUNCTION reject_audit_change()
RETURNS trigger
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_kept record;
    v_record_uuid uuid;
BEGIN
    IF TG_OP = 'UPDATE'::text THEN
        -- The row with its payload put back: what else differs is refused.
        v_kept := NEW;
        IF TG_TABLE_NAME = 'step_audit_changes'::name THEN
            IF NEW.metadata IS NULL AND NEW.metadata_json IS NULL THEN
                v_record_uuid := OLD.step_audit_change_uuid;
                v_kept.metadata := OLD.metadata;
                v_kept.metadata_json := OLD.metadata_json;
            END IF;
        ELSIF TG_TABLE_NAME = 'step_audit_events'::name THEN
            IF NEW.payload IS NULL AND OLD.kind IN ('operator action', 'attribution') THEN
                v_record_uuid := OLD.step_audit_event_uuid;
                v_kept.payload := OLD.payload;
            END IF;
        ELSIF TG_TABLE_NAME = 'tasker_workflow_step_result_audit_anomalies'::name THEN
            IF NEW.raw_value IS NULL THEN
                v_record_uuid := OLD.workflow_step_result_audit_uuid;
                v_kept.raw_value := OLD.raw_value;
            END IF;
        END IF;
        IF v_record_uuid IS NOT NULL AND v_kept OPERATOR(pg_catalog.*=) OLD THEN
            IF EXISTS (
                SELECT FROM step_audit_leaves AS l
                WHERE l.record_uuid = v_record_uuid AND is_step_audit_erased(l.leaf_index)
            ) THEN
                RETURN NEW;
            END IF;
        END IF;
    ELSIF TG_OP = 'DELETE'::text THEN
        IF is_step_audit_purged(TG_TABLE_NAME::text, OLD) THEN
            RETURN OLD;
        END IF;
        IF TG_TABLE_NAME = 'step_audit_salts'::name THEN
            IF is_step_audit_erased(OLD.leaf_index) THEN
                RETURN OLD;
            END IF;
        END IF;
    END IF;

    RAISE insufficient_privilege USING
        MESSAGE = format('table %s is append-only: %s is refused', TG_TABLE_NAME, TG_OP),
        DETAIL = 'It is evidence: what was recorded stays as it was recorded.';
END;
$$;

COMMENT ON FUNCTION reject_audit_change() IS
'Trigger function: refuses UPDATE, DELETE and TRUNCATE of an append-only table.';
