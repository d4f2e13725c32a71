-- The text of a transition's metadata that a leaf commits to, whatever the metadata is.
--
--     SELECT kind, payload FROM print_step_audit_payload('{"event": {"success": true}}'::jsonb);
--
-- The text is jsonb's, so that a column of type json gives the same; json that jsonb cannot hold is kept
-- as it is written. Over 1 GB it cannot be printed: then kind begins with unprintable, and payload is the
-- size and a hash of it, which commit to nothing but notice a change. p_kind: the kind that was sealed;
-- what was sealed as unprintable is not tried to print.

CREATE OR REPLACE FUNCTION print_step_audit_payload(
    p_metadata jsonb,
    p_kind text DEFAULT 'result',
    OUT kind text,
    OUT payload text
)
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
BEGIN
    kind := p_kind;
    IF kind !~ '^unprintable '::text THEN
        BEGIN
            payload := p_metadata::text;
            -- A commitment needs room for the longest name of a role too.
            PERFORM commit_step_audit_payload(''::bytea, pg_catalog.repeat(E'\x01'::text, 63), payload);
        EXCEPTION
            WHEN program_limit_exceeded OR out_of_memory OR internal_error THEN
                kind := pg_catalog.concat('unprintable ', kind);
        END;
    END IF;
    IF kind ~ '^unprintable '::text THEN
        payload := pg_catalog.json_build_array(
            pg_catalog.pg_column_size(pg_catalog.jsonb_build_array(p_metadata)),
            pg_catalog.jsonb_hash_extended(p_metadata, 0::bigint)
        )::text;
    END IF;
END;
$$;

COMMENT ON FUNCTION print_step_audit_payload(jsonb, text) IS
'The text of a transition''s metadata that a leaf commits to; its size and a hash where it cannot be printed.';

CREATE OR REPLACE FUNCTION print_step_audit_payload(
    p_metadata json,
    p_kind text DEFAULT 'result',
    OUT kind text,
    OUT payload text
)
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_metadata jsonb;
BEGIN
    BEGIN
        v_metadata := p_metadata::jsonb;
    EXCEPTION
        WHEN
            invalid_text_representation OR untranslatable_character OR feature_not_supported
            OR statement_too_complex OR numeric_value_out_of_range
            OR program_limit_exceeded OR out_of_memory OR internal_error
        THEN
            kind := p_kind;
            payload := p_metadata::text;
            RETURN;
    END;
    SELECT p.* INTO kind, payload FROM print_step_audit_payload(v_metadata, p_kind) AS p;
END;
$$;

COMMENT ON FUNCTION print_step_audit_payload(json, text) IS
'The text of a transition''s json metadata that a leaf commits to, as jsonb would print it.';
