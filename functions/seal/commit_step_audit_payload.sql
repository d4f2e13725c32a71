-- The salted commitment of a leaf to what is private in its record: who recorded it, and the payload.
--
--     SELECT commit_step_audit_payload(uuid_send(gen_random_uuid()), 'engine', '{"event": {"success": true}}');
--
-- SHA-256 of the salt, who recorded it as JSON, a newline, and the payload. Without the salt nothing can
-- be guessed by it; with the salt it is kept to what it says.
-- Without a SET clause, so that the planner inlines it; all that it calls is pg_catalog's.

CREATE OR REPLACE FUNCTION commit_step_audit_payload(p_salt bytea, p_recorded_by text, p_payload text)
RETURNS bytea
LANGUAGE sql
STABLE
PARALLEL SAFE
AS $$
    SELECT pg_catalog.sha256(p_salt OPERATOR(pg_catalog.||) pg_catalog.convert_to(
        pg_catalog.concat(coalesce(pg_catalog.to_json(p_recorded_by)::text, 'null'::text), E'\n'::text, p_payload),
        'UTF8'::name
    ));
$$;

COMMENT ON FUNCTION commit_step_audit_payload(bytea, text, text) IS
'The salted commitment of a leaf to who recorded it and to the payload.';
