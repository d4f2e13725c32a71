-- The JSON text that protect_json_escapes() made safe to search, as it was before.
--
--     SELECT restore_json_escapes((protect_json_escapes('{"a": "x\u0000y"}')::json -> 'a')::text);
--
-- Its body is bound when it is created, so no search_path can divert it and the planner inlines it.

CREATE OR REPLACE FUNCTION restore_json_escapes(p_json text)
RETURNS text
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
RETURN replace(
    replace(replace(p_json, E'\\\\0', chr(1)), E'\\\\1', E'\\u'),
    chr(1), E'\\\\'
);

COMMENT ON FUNCTION restore_json_escapes(text) IS
'The JSON text that protect_json_escapes() made safe to search, as it was before.';
