-- Whether an event is the text with which the engine says that it did this by itself, at a first look.
--
--     SELECT is_engine_event('{"event": "{\"type\":\"Complete\"}"}'::jsonb);
--
-- Not true: it is to be read. Only what the engine writes is looked for, a text that begins with its type,
-- as every step that completes pays for this look, and what it is to call in each transaction anew. Metadata
-- of type json cannot be looked into without a guard. There is one for each type that the engine's column
-- may have; the type of the argument tells which is meant.
-- Without a SET clause, so that the planner inlines it; all that it calls is pg_catalog's.

CREATE OR REPLACE FUNCTION is_engine_event(p_metadata jsonb)
RETURNS boolean
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
AS $$
    SELECT p_metadata OPERATOR(pg_catalog.@?) (
        E'strict $.event ? (@ starts with "{\\"type\\":\\"Complete\\"" || @ starts with "{\\"type\\":\\"Retry\\"")'::jsonpath
    );
$$;

COMMENT ON FUNCTION is_engine_event(jsonb) IS
'Whether an event is the text with which the engine says that it did this by itself, at a first look.';

CREATE OR REPLACE FUNCTION is_engine_event(p_metadata json)
RETURNS boolean
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
AS $$
    SELECT FALSE AND p_metadata IS NULL;
$$;

COMMENT ON FUNCTION is_engine_event(json) IS
'Not true: metadata of type json is to be read.';
