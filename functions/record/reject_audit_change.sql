-- Refuses to change or remove what is audited and sealed: the guard of each append-only table.
--
-- The function of the triggers trg_append_only, which fire for everybody, the owner included, and
-- under session_replication_role = replica too. It lets a row go only where an event of the same
-- transaction accounts for it: see is_step_audit_purged().

CREATE OR REPLACE FUNCTION reject_audit_change()
RETURNS trigger
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
BEGIN
    IF TG_OP = 'DELETE'::text THEN
        IF is_step_audit_purged(TG_TABLE_NAME::text, OLD) THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE insufficient_privilege USING
        MESSAGE = format('table %s is append-only: %s is refused', TG_TABLE_NAME, TG_OP),
        DETAIL = 'It is evidence: what was recorded stays as it was recorded.';
END;
$$;

COMMENT ON FUNCTION reject_audit_change() IS
'Trigger function: refuses UPDATE, DELETE and TRUNCATE of an append-only table.';
