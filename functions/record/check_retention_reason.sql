-- Refuses a hold, release or purge of which nobody could tell later why it was made.
--
--     SELECT check_retention_reason('litigation 2026-17', 'ann');

CREATE OR REPLACE FUNCTION check_retention_reason(p_reason text, p_operator text)
RETURNS void
LANGUAGE plpgsql
IMMUTABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
BEGIN
    -- Before anything copies it: of hundreds of megabytes nothing else could be done.
    IF greatest(pg_catalog.length(p_reason), pg_catalog.length(p_operator)) > 2000 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'a reason and an operator have 2,000 characters at most; nothing was written',
            HINT = 'Name in the reason where the rest stands.';
    END IF;
    IF coalesce(pg_catalog.btrim(p_reason), ''::text) = ''::text THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'no reason is given; nothing was written',
            HINT = 'Say as p_reason why this is done: it stays in the log.';
    END IF;
END;
$$;

COMMENT ON FUNCTION check_retention_reason(text, text) IS
'Refuses a hold, release or purge of which nobody could tell later why it was made.';
