-- Whether a transition's metadata is what an erasure leaves: NULL, or {} where the column takes no NULL.
--
--     SELECT count(*) FROM tasker_workflow_step_transitions WHERE is_erased_metadata(metadata);
--
-- There is one for each type that the engine's column may have.

CREATE OR REPLACE FUNCTION is_erased_metadata(p_metadata jsonb)
RETURNS boolean
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
    SELECT p_metadata IS NULL OR p_metadata = '{}'::jsonb;
$$;

COMMENT ON FUNCTION is_erased_metadata(jsonb) IS
'Whether a transition''s metadata of type jsonb is what an erasure leaves: NULL or {}.';

CREATE OR REPLACE FUNCTION is_erased_metadata(p_metadata json)
RETURNS boolean
LANGUAGE sql
STABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
    -- Its bytes, as json has no operator = and is never printed here.
    SELECT p_metadata IS NULL OR pg_catalog.json_send(p_metadata) = E'\\x7b7d'::bytea;
$$;

COMMENT ON FUNCTION is_erased_metadata(json) IS
'Whether a transition''s metadata of type json is what an erasure leaves: NULL or {}.';
