-- Takes back the rights by which somebody else than the owner could forge evidence.
--
--     SELECT repair_step_audit_rights();
--
-- A part of attach_step_result_audit().

CREATE OR REPLACE FUNCTION repair_step_audit_rights()
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_statement text;
BEGIN
    FOR v_statement IN SELECT r.revoke_statement FROM list_stray_rights() AS r LOOP
        EXECUTE format('%s', v_statement);
    END LOOP;
END;
$$;

COMMENT ON FUNCTION repair_step_audit_rights() IS
'Takes back the rights by which somebody else than the owner could forge evidence.';
