-- The text that protect_json_escapes() made safe to search, as it was before: JSON text, or what ->>
-- took out of it, in which the escapes that ->> would have failed on then stand as such.
--
--     SELECT restore_json_escapes((protect_json_escapes('{"a": "x\u0000y"}')::json -> 'a')::text);
--
-- Without a SET clause, so that the planner inlines it; all that it calls is pg_catalog's.

CREATE OR REPLACE FUNCTION restore_json_escapes(p_json text)
RETURNS text
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
AS $$
    SELECT pg_catalog.replace(p_json, E'\x7f'::text, E'\\u'::text);
$$;

COMMENT ON FUNCTION restore_json_escapes(text) IS
'The JSON text that protect_json_escapes() made safe to search, as it was before.';
