-- Refuses to change or remove what is audited and sealed: the guard of each append-only table.
--
-- The function of the triggers trg_append_only, which fire for everybody, the owner included, and
-- under session_replication_role = replica too.

CREATE OR REPLACE FUNCTION reject_audit_change()
RETURNS trigger
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
BEGIN
    RAISE insufficient_privilege USING
        MESSAGE = format('table %s is append-only: %s is refused', TG_TABLE_NAME, TG_OP),
        DETAIL = 'It is evidence: what was recorded stays as it was recorded.';
END;
$$;

COMMENT ON FUNCTION reject_audit_change() IS
'Trigger function: refuses UPDATE, DELETE and TRUNCATE of an append-only table.';
