-- JSON text in which no escape can fail: json paths raise on \u0000, on a lone surrogate and on a
-- character that the server's encoding lacks, even in a member that nobody asked for.
--
--     SELECT protect_json_escapes('{"a": "x\u0000y", "success": true}')::json ->> 'success';
--
-- An escaped backslash becomes \\0; a \u escape becomes \\1, unless it stands for an ASCII
-- character. Text that is not JSON stays so. restore_json_escapes() gives back what was there.
-- Its body is bound when it is created, so no search_path can divert it and the planner inlines it.

CREATE OR REPLACE FUNCTION protect_json_escapes(p_json text)
RETURNS text
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
RETURN CASE
    WHEN strpos(p_json, E'\\') = 0 OR strpos(p_json, chr(1)) > 0 THEN p_json
    WHEN strpos(p_json, E'\\u') = 0 THEN replace(p_json, E'\\\\', E'\\\\0')
    ELSE replace(
        regexp_replace(
            replace(p_json, E'\\\\', chr(1)),
            E'\\\\u(?=0000|005[cC]|(?!00[0-7])[0-9a-fA-F]{4})', E'\\\\\\\\1', 'g'
        ),
        chr(1), E'\\\\0'
    )
END;

COMMENT ON FUNCTION protect_json_escapes(text) IS
'JSON text with the escapes that a json path could fail on turned into plain escaped text.';
