-- Lets those seal again who could before an uninstall, which dropped the function that they may execute.
--
--     SELECT give_back_seal_rights();
--
-- A part of attach_step_result_audit().

CREATE OR REPLACE FUNCTION give_back_seal_rights()
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_sealer name;
BEGIN
    FOR v_sealer IN
        DELETE FROM step_audit_objects AS o
        WHERE o.object_name ~ '^sealer '
        RETURNING substring(o.object_name, '^sealer (.*)$')
    LOOP
        IF to_regrole(quote_ident(v_sealer)) IS NOT NULL THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION seal_step_result_audit(bigint) TO %I', v_sealer);
        END IF;
    END LOOP;
END;
$$;

COMMENT ON FUNCTION give_back_seal_rights() IS
'Lets those seal again who could before an uninstall.';
