-- JSON text in which no escape can fail: json operators raise on \u0000, on a lone surrogate and on a
-- character that the server's encoding lacks, even in a member that nobody asked for.
--
--     SELECT protect_json_escapes('{"a": "x\u0000y", "success": true}')::json ->> 'success';
--
-- The \u of each escape that does not stand for an ASCII character, and of \u0000, becomes U+007F,
-- the one ASCII character that JSON allows in a string and that is no part of a number, a boolean, a
-- UUID or JSON's own marks. The character U+007F itself becomes its escape, protected likewise. Text that
-- is not JSON stays so. restore_json_escapes() gives back what was there, in JSON text and in what
-- ->> takes out of it.
-- Without a SET clause, so that the planner inlines it; all that it calls is pg_catalog's.

CREATE OR REPLACE FUNCTION protect_json_escapes(p_json text)
RETURNS text
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
AS $$
    SELECT CASE
        WHEN
            pg_catalog.strpos(p_json, E'\\u'::text) = 0 AND pg_catalog.strpos(p_json, E'\x7f'::text) = 0
            -- No JSON has this character, which takes the place of escaped backslashes below.
            OR pg_catalog.strpos(p_json, E'\x01'::text) > 0
            THEN p_json
        ELSE pg_catalog.replace(
            pg_catalog.regexp_replace(
                pg_catalog.replace(
                    pg_catalog.replace(p_json, E'\x7f'::text, E'\x7f007f'::text), E'\\\\'::text, E'\x01'::text
                ),
                E'\\\\u(?=0000|007[fF]|(?!00[0-7])[0-9a-fA-F]{4})'::text, E'\x7f'::text, 'g'::text
            ),
            E'\x01'::text, E'\\\\'::text
        )
    END;
$$;

COMMENT ON FUNCTION protect_json_escapes(text) IS
'JSON text in which the escapes that a json operator could fail on are marked and not decoded.';
