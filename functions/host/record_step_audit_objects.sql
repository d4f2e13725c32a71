-- Writes down what the catalog says of the objects that came since.
--
--     SELECT record_step_audit_objects();
--
-- What is written down already stays as it was written, so that nobody's later change becomes what is
-- expected. Whatever of ours makes an object anew takes its old description away first.

CREATE OR REPLACE FUNCTION record_step_audit_objects()
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_objects jsonb;
BEGIN
    -- Read first and written then, as Citus wants no query on our tables and others together.
    SELECT coalesce(jsonb_object_agg(o.object_name, o.definition), '{}') INTO v_objects
    FROM list_step_audit_objects() AS o
    WHERE
        o.object_name !~ '^(rule|right|index) '
        -- Each index of ours has a comment. Another is the administrator's, who may drop it again.
        OR EXISTS (
            SELECT FROM pg_class AS c
            WHERE
                o.object_name = 'index ' || c.relname
                AND c.relnamespace = quote_ident(current_schema())::regnamespace
                AND obj_description(c.oid, 'pg_class') IS NOT NULL
        );

    INSERT INTO step_audit_objects (object_name, definition)
    SELECT
        o.object_name,
        o.definition
    FROM jsonb_each_text(v_objects) AS o (object_name, definition)
    ON CONFLICT (object_name) DO NOTHING;
END;
$$;

COMMENT ON FUNCTION record_step_audit_objects() IS
'Writes down what the catalog says of the objects that came since.';
