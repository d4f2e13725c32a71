-- The first characters of a JSON value's text, without printing the rest.
--
--     SELECT cut_json_value('{"a": [1, 2, 3]}'::jsonb, 10);
--
-- The same as left(p_value::text, p_length). A value of 75 KB may be more than a gigabyte as text, as
-- a number of eight bytes may have 131,000 digits; this prints only the members that are needed.

CREATE OR REPLACE FUNCTION cut_json_value(p_value jsonb, p_length integer)
RETURNS text
LANGUAGE plpgsql
STABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_type text := pg_catalog.jsonb_typeof(p_value);
    v_text text;
    v_key text;
    v_member jsonb;
BEGIN
    IF p_length <= 0 THEN
        RETURN '';
    ELSIF v_type = 'array' THEN
        v_text := '[';
        FOR v_index IN 0 .. pg_catalog.jsonb_array_length(p_value) - 1 LOOP
            v_text := v_text || CASE WHEN v_index > 0 THEN ', '::text ELSE ''::text END
                || cut_json_value(p_value -> v_index, p_length - 1);
            EXIT WHEN pg_catalog.length(v_text) >= p_length;
        END LOOP;
        v_text := v_text || ']'::text;
    ELSIF v_type = 'object' THEN
        v_text := '{';
        FOR v_key, v_member IN SELECT m.key, m.value FROM pg_catalog.jsonb_each(p_value) AS m LOOP
            v_text := v_text || CASE WHEN v_text <> '{' THEN ', '::text ELSE ''::text END
                || pg_catalog.to_json(v_key)::text || ': '::text || cut_json_value(v_member, p_length - 1);
            EXIT WHEN pg_catalog.length(v_text) >= p_length;
        END LOOP;
        v_text := v_text || '}'::text;
    ELSE
        v_text := p_value::text;
    END IF;
    RETURN pg_catalog.left(v_text, p_length);
END;
$$;

COMMENT ON FUNCTION cut_json_value(jsonb, integer) IS
'The first characters of a JSON value''s text, without printing the rest.';
