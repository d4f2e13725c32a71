-- Has the ledger call the engine's tables as they are called since a rename of them or their schema.
--
--     SELECT follow_renamed_engine();
--
-- Views, keys and the trigger go along with a rename by themselves. What was recorded of them is told
-- anew only where nothing else differs and nothing has the old name any more: where something has, a
-- view may have been turned to another table. A part of attach_step_result_audit().

CREATE OR REPLACE FUNCTION follow_renamed_engine()
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_objects jsonb;
    v_name constant text := '; of (.*)$|REFERENCES (.*)[(]';
BEGIN
    -- Read first and written then, as Citus wants no query on our tables and others together.
    SELECT coalesce(jsonb_object_agg(o.object_name, o.definition), '{}') INTO v_objects
    FROM list_step_audit_objects() AS o
    WHERE o.object_name ~ '^(view tasker_|constraint tasker_workflow_step_result_audit[.]fk_audit_)';

    UPDATE step_audit_objects AS o
    SET
        definition = v_objects ->> o.object_name,
        recorded_at = now() AT TIME ZONE 'UTC'
    WHERE
        o.definition <> v_objects ->> o.object_name
        AND regexp_replace(o.definition, v_name, '') = regexp_replace(v_objects ->> o.object_name, v_name, '')
        AND to_regclass(array_to_string(regexp_match(o.definition, v_name), '')) IS NULL;
END;
$$;

COMMENT ON FUNCTION follow_renamed_engine() IS
'Has the ledger call the engine''s tables as they are called since a rename of them or their schema.';
