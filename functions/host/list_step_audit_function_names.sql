-- The names of step-audit's functions and procedures in this schema.
--
--     SELECT list_step_audit_function_names();
--
-- From the ledger alone: nothing that an install runs reads our tables in a query on other tables,
-- which Citus refuses. A function of ours has a comment; one of the same name without is not ours.

CREATE OR REPLACE FUNCTION list_step_audit_function_names()
RETURNS text[]
LANGUAGE sql
STABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
    SELECT coalesce(array_agg(substring(f.path, '([^/]*)[.]sql$')), '{}')
    FROM step_audit_files AS f
    WHERE f.path ~ '^functions/';
$$;

COMMENT ON FUNCTION list_step_audit_function_names() IS
'The names of step-audit''s functions and procedures in this schema.';
