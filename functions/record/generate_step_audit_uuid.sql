-- A UUIDv7 (RFC 9562, section 5.7) for servers that have none of their own, in the order of time:
-- 48 bits of Unix milliseconds, the version, 12 bits of the millisecond's fraction (section 6.2,
-- method 3), the variant and 62 random bits.
--
--     SELECT generate_step_audit_uuid();
--
-- The time is a fixed-point number, its low 16 bits the fraction; the digit 7 is put in before them
-- and the last of them falls off. The variant and what is behind it come from a random UUIDv4.
-- Without a SET clause, so that the planner inlines it; all that it calls is pg_catalog's.

CREATE OR REPLACE FUNCTION generate_step_audit_uuid()
RETURNS uuid
LANGUAGE sql
VOLATILE
PARALLEL SAFE
AS $$
    SELECT (
        pg_catalog.left(
            pg_catalog.overlay(
                pg_catalog.encode(
                    pg_catalog.int8send(
                        (extract(EPOCH FROM pg_catalog.clock_timestamp()) * 65536000::numeric)::bigint
                    ),
                    'hex'::text
                ),
                '7'::text, 13, 0
            ),
            16
        )
        || pg_catalog.right(pg_catalog.gen_random_uuid()::text, 17)
    )::uuid;
$$;

COMMENT ON FUNCTION generate_step_audit_uuid() IS
'A UUIDv7 of RFC 9562, the key of an audit row where the server has no uuidv7().';
