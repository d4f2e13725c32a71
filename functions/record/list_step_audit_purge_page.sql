-- The next records that a purge looks at, and which of them stand for a trail.
--
--     SELECT p.* FROM list_step_audit_purge_page('events', NULL, NULL, '2025-01-01', 1000) AS p;
--
-- A part of purge_step_result_audit_batch(). p_phase: 'records', the audit rows, in the order of time;
-- 'events' and 'changes', those whose transition has no audit row, in the order of their keys, which is
-- about that of time. p_after_recorded_at, p_after_key: the last row of the page before. transition_uuid:
-- NULL where another record stands for the trail, or where it is too young; an event that names no
-- transition is a trail by itself, and stands under its own key. By index, each from where
-- the page before ended; OFFSET 0 keeps a look-up from becoming a hash of the whole table.
-- As in the trigger, arguments have the exact types.

CREATE OR REPLACE FUNCTION list_step_audit_purge_page(
    p_phase text,
    p_after_recorded_at timestamp,
    p_after_key uuid,
    p_before timestamp,
    p_limit integer
)
RETURNS TABLE (recorded_at timestamp, record_key uuid, transition_uuid uuid)
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_at timestamp := coalesce(p_after_recorded_at, '-infinity');
    v_key uuid := coalesce(p_after_key, '00000000-0000-0000-0000-000000000000');
BEGIN
    IF p_phase = 'records'::text THEN
        RETURN QUERY
        SELECT
            a.recorded_at,
            a.workflow_step_result_audit_uuid,
            CASE
                WHEN NOT EXISTS (
                    SELECT FROM tasker_workflow_step_result_audit AS b
                    WHERE
                        b.workflow_step_transition_uuid = a.workflow_step_transition_uuid
                        AND (b.recorded_at, b.workflow_step_result_audit_uuid)
                        < (a.recorded_at, a.workflow_step_result_audit_uuid)
                    OFFSET 0
                ) THEN a.workflow_step_transition_uuid
            END
        FROM (
            SELECT r.*
            FROM tasker_workflow_step_result_audit AS r
            WHERE
                r.recorded_at >= v_at
                AND r.recorded_at < p_before
                AND (r.recorded_at, r.workflow_step_result_audit_uuid) > (v_at, v_key)
            ORDER BY r.recorded_at, r.workflow_step_result_audit_uuid
            LIMIT p_limit
        ) AS a;
    ELSIF p_phase = 'events'::text THEN
        RETURN QUERY
        SELECT
            e.recorded_at,
            e.step_audit_event_uuid,
            CASE
                WHEN
                    e.kind NOT IN ('hold', 'release', 'purged', 'erased')
                    AND e.recorded_at < p_before
                    AND NOT EXISTS (
                        SELECT FROM tasker_workflow_step_result_audit AS a
                        WHERE a.workflow_step_transition_uuid = e.workflow_step_transition_uuid
                        OFFSET 0
                    )
                    AND NOT EXISTS (
                        SELECT FROM step_audit_events AS b
                        WHERE
                            b.workflow_step_transition_uuid = e.workflow_step_transition_uuid
                            AND b.kind IN ('operator action', 'attribution')
                            AND b.step_audit_event_uuid < e.step_audit_event_uuid
                        OFFSET 0
                    )
                    AND NOT EXISTS (
                        SELECT FROM step_audit_events AS b
                        WHERE
                            b.workflow_step_transition_uuid = e.workflow_step_transition_uuid
                            AND b.kind IN ('result came again', 'result without step')
                            AND b.step_audit_event_uuid < e.step_audit_event_uuid
                        OFFSET 0
                    )
                    THEN coalesce(e.workflow_step_transition_uuid, e.step_audit_event_uuid)
            END
        FROM (
            SELECT v.*
            FROM step_audit_events AS v
            WHERE v.step_audit_event_uuid > v_key
            ORDER BY v.step_audit_event_uuid
            LIMIT p_limit
        ) AS e;
    ELSE
        RETURN QUERY
        SELECT
            c.recorded_at,
            c.step_audit_change_uuid,
            CASE
                WHEN
                    c.recorded_at < p_before
                    AND NOT EXISTS (
                        SELECT FROM tasker_workflow_step_result_audit AS a
                        WHERE a.workflow_step_transition_uuid = c.workflow_step_transition_uuid
                        OFFSET 0
                    )
                    AND NOT EXISTS (
                        SELECT FROM step_audit_events AS b
                        WHERE
                            b.workflow_step_transition_uuid = c.workflow_step_transition_uuid
                            AND b.kind IN ('operator action', 'attribution')
                            AND b.recorded_at < p_before
                        OFFSET 0
                    )
                    AND NOT EXISTS (
                        SELECT FROM step_audit_events AS b
                        WHERE
                            b.workflow_step_transition_uuid = c.workflow_step_transition_uuid
                            AND b.kind IN ('result came again', 'result without step')
                            AND b.recorded_at < p_before
                        OFFSET 0
                    )
                    AND NOT EXISTS (
                        SELECT FROM step_audit_changes AS b
                        WHERE
                            b.workflow_step_transition_uuid = c.workflow_step_transition_uuid
                            AND b.step_audit_change_uuid < c.step_audit_change_uuid
                        OFFSET 0
                    )
                    THEN c.workflow_step_transition_uuid
            END
        FROM (
            SELECT k.step_audit_change_uuid, k.recorded_at, k.workflow_step_transition_uuid
            FROM step_audit_changes AS k
            WHERE k.step_audit_change_uuid > v_key
            ORDER BY k.step_audit_change_uuid
            LIMIT p_limit
        ) AS c;
    END IF;
END;
$$;

COMMENT ON FUNCTION list_step_audit_purge_page(text, timestamp, uuid, timestamp, integer) IS
'The next records that a purge looks at, and which of them stand for a trail.';
