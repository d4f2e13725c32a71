-- A UUIDv7 (RFC 9562, section 5.7) for servers that have none of their own: 48 bits of
-- Unix milliseconds, then the version, the variant and 74 random bits.
--
--     SELECT generate_step_audit_uuid();
--
-- The 122 random bits and the variant come from gen_random_uuid(), a UUIDv4; the time is laid
-- over its first six bytes, and setting bits 52 and 53 turns version 4 (0100) into 7 (0111).
-- Its body is bound when it is created, so no search_path can divert it and the planner inlines it.

CREATE OR REPLACE FUNCTION generate_step_audit_uuid()
RETURNS uuid
LANGUAGE sql
VOLATILE
PARALLEL SAFE
RETURN encode(
    set_bit(
        set_bit(
            overlay(
                uuid_send(gen_random_uuid()),
                substring(int8send(floor(extract(EPOCH FROM clock_timestamp()) * 1000)::bigint), 3),
                1, 6
            ),
            52, 1
        ),
        53, 1
    ),
    'hex'
)::uuid;

COMMENT ON FUNCTION generate_step_audit_uuid() IS
'A UUIDv7 of RFC 9562, the key of an audit row where the server has no uuidv7().';
