-- The holds, newest first, each with how it was released, if it was.
--
--     SELECT hold, task_uuid, correlation_id, reason FROM list_step_audit_holds();
--
-- p_active: those that no release names, with FALSE those that one does, with NULL all. operator is a claim
-- of whoever held or released; recorded_by is his login. Runs with the caller's rights.

CREATE OR REPLACE FUNCTION list_step_audit_holds(p_active boolean DEFAULT TRUE)
RETURNS TABLE (
    hold uuid,
    recorded_at timestamp,
    recorded_by text,
    task_uuid uuid,
    correlation_id uuid,
    reason text,
    operator text,
    released_at timestamp,
    released_by text,
    release_reason text,
    release_operator text
)
LANGUAGE sql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
    SELECT
        h.step_audit_event_uuid,
        h.recorded_at,
        h.recorded_by,
        h.task_uuid,
        f.correlation_id,
        f.reason,
        f.operator,
        r.recorded_at,
        r.recorded_by,
        r.payload ->> 'reason'::text,
        r.payload ->> 'operator'::text
    FROM step_audit_events AS h
    CROSS JOIN LATERAL jsonb_to_record(h.payload) AS f (correlation_id uuid, reason text, operator text)
    LEFT JOIN step_audit_events AS r
        ON
            r.kind = 'release'
            AND r.payload ->> 'hold'::text = h.step_audit_event_uuid::text
    WHERE
        h.kind = 'hold'
        -- What extends a hold is no hold of its own.
        AND h.payload ->> 'extends'::text IS NULL
        AND (p_active IS NULL OR p_active = (r.step_audit_event_uuid IS NULL))
    ORDER BY h.step_audit_event_uuid DESC;
$$;

COMMENT ON FUNCTION list_step_audit_holds(boolean) IS
'The holds, newest first, each with how it was released, if it was.';
