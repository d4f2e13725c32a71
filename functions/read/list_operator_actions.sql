-- What operators did to steps, newest first, each with what was told later of who did it.
--
--     SELECT * FROM list_operator_actions(p_attributed => FALSE, p_limit => 20);
--
-- p_attributed FALSE: those of which nobody has told yet, a queue for review; TRUE: the others. A filter
-- left NULL is not applied. recorded_at is UTC; p_recorded_from is included, p_recorded_until is not, and a
-- text without a zone is read there in the session's. For the next page give the last row's recorded_at and
-- step_audit_event_uuid as p_before_recorded_at and p_before_event_uuid; a full page says by a notice that
-- there may be one. p_limit NULL: all rows. recorded_by is the role that did it: a fact. claims is what
-- the engine's event says, attributions what somebody told later, an array of {operator, reason, source,
-- recorded_at, recorded_by}, newest first.
-- What was erased is listed with NULL for action, states and claims, or for operator, reason and source.
-- Runs with the caller's rights.

CREATE OR REPLACE FUNCTION list_operator_actions(
    p_attributed boolean DEFAULT NULL,
    p_task_uuid uuid DEFAULT NULL,
    p_step_uuid uuid DEFAULT NULL,
    p_recorded_from timestamptz DEFAULT NULL,
    p_recorded_until timestamptz DEFAULT NULL,
    p_before_recorded_at timestamp DEFAULT NULL,
    p_before_event_uuid uuid DEFAULT NULL,
    p_limit integer DEFAULT 100
)
RETURNS TABLE (
    step_audit_event_uuid uuid,
    recorded_at timestamp,
    recorded_by text,
    action text,
    task_uuid uuid,
    workflow_step_uuid uuid,
    workflow_step_transition_uuid uuid,
    step_name text,
    from_state text,
    to_state text,
    attempts bigint,
    claims jsonb,
    attributions jsonb
)
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
DECLARE
    v_rows bigint;
BEGIN
    IF (p_before_recorded_at IS NULL) <> (p_before_event_uuid IS NULL) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'p_before_recorded_at and p_before_event_uuid go together',
            HINT = 'Give both as they stand in the last row of the page before, or neither.';
    END IF;

    RETURN QUERY
    WITH page AS MATERIALIZED (
        SELECT e.*
        FROM step_audit_events AS e
        WHERE
            e.kind = 'operator action'
            AND (p_task_uuid IS NULL OR e.task_uuid = p_task_uuid)
            AND (p_step_uuid IS NULL OR e.workflow_step_uuid = p_step_uuid)
            AND (p_recorded_from IS NULL OR e.recorded_at >= p_recorded_from AT TIME ZONE 'UTC')
            AND (p_recorded_until IS NULL OR e.recorded_at < p_recorded_until AT TIME ZONE 'UTC')
            AND (
                p_before_recorded_at IS NULL
                OR (e.recorded_at, e.step_audit_event_uuid) < (p_before_recorded_at, p_before_event_uuid)
            )
            AND (
                p_attributed IS NULL
                OR p_attributed = EXISTS (
                    SELECT FROM step_audit_events AS told
                    WHERE
                        told.kind = 'attribution'
                        AND told.workflow_step_transition_uuid = e.workflow_step_transition_uuid
                )
            )
        ORDER BY e.recorded_at DESC, e.step_audit_event_uuid DESC
        LIMIT p_limit
    )

    SELECT
        p.step_audit_event_uuid,
        p.recorded_at,
        p.recorded_by,
        f.action,
        p.task_uuid,
        p.workflow_step_uuid,
        p.workflow_step_transition_uuid,
        coalesce(n.name::text, d.step_name),
        f.from_state,
        f.to_state,
        f.attempts,
        f.claims,
        a.attributions
    FROM page AS p
    CROSS JOIN LATERAL jsonb_to_record(p.payload) AS f (
        action text, from_state text, to_state text, attempts bigint, claims jsonb
    )
    LEFT JOIN tasker_workflow_steps AS s ON p.workflow_step_uuid = s.workflow_step_uuid
    LEFT JOIN tasker_named_steps AS n ON s.named_step_uuid = n.named_step_uuid
    LEFT JOIN LATERAL (
        SELECT x.step_name
        FROM step_audit_deleted_steps AS x
        WHERE x.workflow_step_uuid = p.workflow_step_uuid
        LIMIT 1
    ) AS d ON s.workflow_step_uuid IS NULL
    CROSS JOIN LATERAL (
        SELECT
            coalesce(
                jsonb_agg(
                    coalesce(told.payload, '{"operator": null, "reason": null, "source": null}')
                    || jsonb_build_object(
                        'recorded_at', told.recorded_at, 'recorded_by', told.recorded_by
                    )
                    ORDER BY told.recorded_at DESC, told.step_audit_event_uuid DESC
                ),
                '[]'
            ) AS attributions
        FROM step_audit_events AS told
        WHERE
            told.kind = 'attribution'
            AND told.workflow_step_transition_uuid = p.workflow_step_transition_uuid
    ) AS a
    ORDER BY p.recorded_at DESC, p.step_audit_event_uuid DESC;

    GET DIAGNOSTICS v_rows = ROW_COUNT;
    IF v_rows = p_limit AND v_rows > 0 THEN
        RAISE NOTICE USING
            MESSAGE = format('this page is full with %s rows, so there may be more', v_rows),
            HINT = 'Ask for the next page by its last row, see p_before_recorded_at; or for all rows by p_limit => NULL.';
    END IF;
END;
$$;

COMMENT ON FUNCTION list_operator_actions(
    boolean, uuid, uuid, timestamptz, timestamptz, timestamp, uuid, integer
) IS
'What operators did to steps, newest first, each with what was told later of who did it, in pages.';
