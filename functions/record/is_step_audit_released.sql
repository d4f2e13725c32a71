-- Whether a hold was released.
--
--     SELECT is_step_audit_released('0199f3a4-...', '0199f3a1-...');
--
-- p_hold: the event that the hold is. p_task_uuid: its task; NULL where it is of a correlation id.

CREATE OR REPLACE FUNCTION is_step_audit_released(p_hold uuid, p_task_uuid uuid)
RETURNS boolean
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
BEGIN
    -- A condition each, as an index knows no IS NOT DISTINCT FROM.
    IF p_task_uuid IS NULL THEN
        RETURN EXISTS (
            SELECT FROM step_audit_events AS r
            WHERE r.kind = 'release' AND r.task_uuid IS NULL AND r.payload ->> 'hold'::text = p_hold::text
        );
    END IF;
    RETURN EXISTS (
        SELECT FROM step_audit_events AS r
        WHERE r.kind = 'release' AND r.task_uuid = p_task_uuid AND r.payload ->> 'hold'::text = p_hold::text
    );
END;
$$;

COMMENT ON FUNCTION is_step_audit_released(uuid, uuid) IS
'Whether a hold was released.';
