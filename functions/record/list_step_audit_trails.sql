-- What there is of the trail of each of these transitions, and why it is not to be purged yet.
--
--     SELECT t.stays_for, t.leaves FROM list_step_audit_trails('{0199f3a2-...}', '2025-01-01') AS t;
--
-- A trail is the audit row of a transition, its changes, and its events. stays_for: the first that holds
-- of 'engine' (the transition stands), 'hold', 'seal' (something has no leaf yet), 'time' (something was
-- recorded at p_before or later); NULL where all of it may go. In the order of p_transitions; NULL in it
-- has no trail, and the key of an event that names no transition has that event. By index, whatever the statistics say.

CREATE OR REPLACE FUNCTION list_step_audit_trails(p_transitions uuid[], p_before timestamp)
RETURNS TABLE (
    workflow_step_transition_uuid uuid,
    stays_for text,
    leaves int8multirange,
    records bigint,
    changes bigint,
    events bigint
)
LANGUAGE sql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
    SELECT
        t.transition_uuid,
        CASE
            WHEN EXISTS (
                SELECT FROM tasker_workflow_step_transitions AS h
                WHERE h.workflow_step_transition_uuid = t.transition_uuid
                OFFSET 0
            ) THEN 'engine'
            WHEN w.is_held THEN 'hold'
            WHEN w.is_unsealed THEN 'seal'
            WHEN w.last_at >= p_before THEN 'time'
        END,
        w.leaves,
        w.records,
        w.changes,
        w.events
    FROM unnest(p_transitions) WITH ORDINALITY AS t (transition_uuid, place)
    CROSS JOIN LATERAL (
        SELECT
            bool_or(is_step_audit_held(t.transition_uuid, p.workflow_step_uuid, p.task_uuid)) AS is_held,
            bool_or(l.leaf_index IS NULL) AS is_unsealed,
            max(p.recorded_at) AS last_at,
            range_agg(int8range(l.leaf_index, l.leaf_index + 1)) FILTER (WHERE l.leaf_index IS NOT NULL) AS leaves,
            count(*) FILTER (WHERE p.part = 'record') AS records,
            count(*) FILTER (WHERE p.part = 'change') AS changes,
            count(*) FILTER (WHERE p.part = 'event') AS events
        FROM (
            SELECT
                'record' AS part,
                a.workflow_step_result_audit_uuid AS record_uuid,
                a.workflow_step_uuid,
                a.task_uuid,
                a.recorded_at
            FROM tasker_workflow_step_result_audit AS a
            WHERE a.workflow_step_transition_uuid = t.transition_uuid
            UNION ALL
            SELECT
                'change',
                c.step_audit_change_uuid,
                c.workflow_step_uuid,
                NULL,
                c.recorded_at
            FROM step_audit_changes AS c
            WHERE c.workflow_step_transition_uuid = t.transition_uuid
            UNION ALL
            SELECT
                'event',
                e.step_audit_event_uuid,
                e.workflow_step_uuid,
                e.task_uuid,
                e.recorded_at
            FROM step_audit_events AS e
            WHERE
                e.workflow_step_transition_uuid = t.transition_uuid
                AND e.kind IN ('operator action', 'attribution')
            UNION ALL
            -- Another index.
            SELECT
                'event',
                e.step_audit_event_uuid,
                e.workflow_step_uuid,
                e.task_uuid,
                e.recorded_at
            FROM step_audit_events AS e
            WHERE
                e.workflow_step_transition_uuid = t.transition_uuid
                AND e.kind IN ('result came again', 'result without step')
            UNION ALL
            SELECT
                'event',
                e.step_audit_event_uuid,
                e.workflow_step_uuid,
                e.task_uuid,
                e.recorded_at
            FROM step_audit_events AS e
            WHERE
                e.step_audit_event_uuid = t.transition_uuid
                AND e.workflow_step_transition_uuid IS NULL
                AND e.kind NOT IN ('hold', 'release', 'purged', 'erased')
        ) AS p
        LEFT JOIN step_audit_leaves AS l ON l.record_uuid = p.record_uuid
    ) AS w
    ORDER BY t.place;
$$;

COMMENT ON FUNCTION list_step_audit_trails(uuid[], timestamp) IS
'What there is of the trail of each of these transitions, and why it is not to be purged yet.';
