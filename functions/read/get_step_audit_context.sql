-- What the engine's tables hold about one audited result: its step's name, its transition's states,
-- the full result, and the time since the step last went in_progress.
--
--     SELECT * FROM get_step_audit_context('0199f3a2-...', '0199f3a1-...');
--
-- elapsed_ms is NULL if none of the ten transitions before is a start. Gives one row for a known
-- step, empty but for the name where the transition is unknown. It has no search_path of its own,
-- so that the planner puts it into the query of the functions that read the audit, where its names
-- are found by theirs.

CREATE OR REPLACE FUNCTION get_step_audit_context(p_transition_uuid uuid, p_step_uuid uuid)
RETURNS TABLE (
    elapsed_ms bigint,
    step_name text,
    from_state text,
    to_state text,
    result json
)
LANGUAGE sql
STABLE
PARALLEL UNSAFE
AS $$
    SELECT
        CASE
            WHEN isfinite(t.created_at) AND isfinite(started.created_at)
                THEN round(extract(EPOCH FROM t.created_at - started.created_at) * 1000::numeric)::bigint
        END,
        n.name::text,
        t.from_state::text,
        t.to_state::text,
        get_step_result(t.metadata, t.workflow_step_transition_uuid)
    FROM tasker_workflow_steps AS s
    LEFT JOIN tasker_named_steps AS n ON s.named_step_uuid = n.named_step_uuid
    LEFT JOIN tasker_workflow_step_transitions AS t
        ON t.workflow_step_transition_uuid = p_transition_uuid AND t.workflow_step_uuid = p_step_uuid
    LEFT JOIN LATERAL (
        -- A result follows its start at once. Looking a little further is kind to odd engines;
        -- looking all the way would cost a step with many results and no start their square.
        SELECT before.created_at
        FROM (
            SELECT
                p.created_at,
                p.to_state,
                p.sort_key
            FROM tasker_workflow_step_transitions AS p
            WHERE
                p.workflow_step_uuid = t.workflow_step_uuid
                AND p.sort_key < t.sort_key
            ORDER BY p.sort_key DESC
            LIMIT 10
        ) AS before
        WHERE before.to_state = 'in_progress'
        ORDER BY before.sort_key DESC
        LIMIT 1
    ) AS started ON TRUE
    WHERE s.workflow_step_uuid = p_step_uuid;
$$;

COMMENT ON FUNCTION get_step_audit_context(uuid, uuid) IS
'What the engine''s tables hold about one audited result: step name, states, full result, elapsed time.';
