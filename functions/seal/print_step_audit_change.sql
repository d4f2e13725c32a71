-- The kind of a change's leaf and the text of the metadata that it commits to, whichever type it has.
--
--     SELECT kind, payload FROM print_step_audit_change('{"event": null}'::jsonb, NULL::json);
--
-- payload: NULL where the transition had no metadata; see print_step_audit_payload().

CREATE OR REPLACE FUNCTION print_step_audit_change(
    p_metadata jsonb,
    p_metadata_json json,
    p_kind text DEFAULT 'change',
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
    IF p_metadata IS NOT NULL THEN
        SELECT p.* INTO kind, payload FROM print_step_audit_payload(p_metadata, p_kind) AS p;
    ELSIF p_metadata_json IS NOT NULL THEN
        SELECT p.* INTO kind, payload FROM print_step_audit_payload(p_metadata_json, p_kind) AS p;
    END IF;
END;
$$;

COMMENT ON FUNCTION print_step_audit_change(jsonb, json, text) IS
'The kind of a change''s leaf and the text of the metadata that it commits to.';
