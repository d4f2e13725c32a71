-- A time of the engine's as a UTC timestamp without zone, whichever of the two types its column has.
--
--     SELECT get_utc_time(created_at) FROM tasker_workflow_step_transitions;
--
-- A timestamp without zone is the engine's UTC and stays. Without a SET clause, so that the planner
-- inlines it; all that it calls is pg_catalog's.

CREATE OR REPLACE FUNCTION get_utc_time(p_time timestamp)
RETURNS timestamp
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
AS $$
    SELECT p_time;
$$;

COMMENT ON FUNCTION get_utc_time(timestamp) IS
'A time of the engine''s, which is UTC already.';

CREATE OR REPLACE FUNCTION get_utc_time(p_time timestamptz)
RETURNS timestamp
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
AS $$
    SELECT pg_catalog.timezone('UTC'::text, p_time);
$$;

COMMENT ON FUNCTION get_utc_time(timestamptz) IS
'A time of the engine''s as a UTC timestamp without zone.';
