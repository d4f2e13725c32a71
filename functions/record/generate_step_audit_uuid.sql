-- A UUIDv7 (RFC 9562, section 5.7) for servers that have none of their own, in the order of time:
-- 48 bits of Unix milliseconds, the version, 12 bits of the millisecond's fraction (section 6.2,
-- method 3), the variant and 62 random bits.
--
--     SELECT generate_step_audit_uuid();
--
-- The time is a fixed-point number, its low 16 bits the fraction; the digit 7 is put in before them
-- and the last of them falls off. The variant and what is behind it come from a random UUIDv4.
-- Its body is bound when it is created, so no search_path can divert it and the planner inlines it.

CREATE OR REPLACE FUNCTION generate_step_audit_uuid()
RETURNS uuid
LANGUAGE sql
VOLATILE
PARALLEL SAFE
RETURN (
    left(
        overlay(
            encode(int8send((extract(EPOCH FROM clock_timestamp()) * 65536000::numeric)::bigint), 'hex'),
            '7', 13, 0
        ),
        16
    )
    || right(gen_random_uuid()::text, 17)
)::uuid;

COMMENT ON FUNCTION generate_step_audit_uuid() IS
'A UUIDv7 of RFC 9562, the key of an audit row where the server has no uuidv7().';
