-- Gives step-audit's tables, type, views and functions to the owner of the engine's tables.
--
--     SELECT give_step_audit_to('tasker');
--
-- The trigger's function runs with its owner's rights. With another owner it would do more than the
-- engine may, or after that one lost a right, fail. A part of attach_step_result_audit().

CREATE OR REPLACE FUNCTION give_step_audit_to(p_owner name)
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_statement text;
BEGIN
    FOR v_statement IN SELECT s.give_statement FROM list_step_audit_owners() AS s WHERE s.owner_name <> p_owner LOOP
        EXECUTE format('%s OWNER TO %I', v_statement, p_owner);
    END LOOP;
END;
$$;

COMMENT ON FUNCTION give_step_audit_to(name) IS
'Gives step-audit''s tables, type, views and functions to the owner of the engine''s tables.';
