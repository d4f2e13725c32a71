-- What of the machinery is missing or was changed since it was installed; no rows: nothing.
--
--     SELECT field, stored, expected FROM verify_step_audit_objects();
--
-- finding: missing object, altered object, or foreign object: a rule, a BEFORE trigger or a right that
-- is not ours and could change what is written. field: kind and name of the object. expected: what the
-- catalog said right after the install, from the ledger. For status and monitoring only: what lives in
-- the database cannot prove that it was not changed itself; step-audit verify does not ask it.

CREATE OR REPLACE FUNCTION verify_step_audit_objects()
RETURNS TABLE (
    finding text,
    field text,
    stored text,
    expected text
)
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_ledger jsonb;
BEGIN
    SELECT coalesce(jsonb_object_agg(o.object_name, o.definition), '{}') INTO v_ledger FROM step_audit_objects AS o;
    RETURN QUERY
    SELECT
        CASE
            WHEN o.object_name IS NULL THEN 'missing object'
            WHEN e.definition IS NULL THEN 'foreign object'
            ELSE 'altered object'
        END,
        coalesce(o.object_name, e.object_name),
        o.definition,
        e.definition
    FROM list_step_audit_objects() AS o
    FULL JOIN jsonb_each_text(v_ledger) AS e (object_name, definition) ON o.object_name = e.object_name
    WHERE
        o.definition IS DISTINCT FROM e.definition
        AND (e.definition IS NOT NULL OR o.object_name ~ '^(trigger|rule|right) ')
        -- An index that goes while it is read, by REINDEX CONCURRENTLY, is told by the next look.
        AND (o.object_name IS NULL OR o.definition IS NOT NULL)
    ORDER BY 2;
END;
$$;

COMMENT ON FUNCTION verify_step_audit_objects() IS
'What of triggers, guards, functions, keys, indexes, views, defaults and rights is missing or was changed.';
