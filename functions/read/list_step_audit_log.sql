-- The log in its order: each leaf with the record that was sealed, for whoever keeps a copy elsewhere.
--
--     SELECT leaf_index, kind, what, recorded_at, result FROM list_step_audit_log(p_after_leaf => 1000, p_limit => 9);
--
-- The leaves behind p_after_leaf, all where it is NULL, without a gap; p_limit of them at most, NULL for
-- no limit. state: present; erased, its payload is gone; purged, the record is gone, and accounted_by is
-- the event that says so; missing, it is gone and no event says so, see step-audit verify. what: recorded
-- or backfilled for a result, the operation of a change, the kind of an event. A result is shown as it was
-- sealed, a change as the version that it ended, and for an update also what it made of that: result_after,
-- to_state_after. payload: of an event. docs/export.md tells of each column. A page costs its leaves, and
-- one look at all purges. Runs with the caller's rights; of what row-level security would hide, it fails.

CREATE OR REPLACE FUNCTION list_step_audit_log(p_after_leaf bigint DEFAULT NULL, p_limit integer DEFAULT 1000)
RETURNS TABLE (
    leaf_index bigint,
    leaf_hash text,
    kind text,
    record_uuid uuid,
    state text,
    accounted_by uuid,
    what text,
    recorded_at timestamp,
    recorded_by text,
    task_uuid uuid,
    workflow_step_uuid uuid,
    workflow_step_transition_uuid uuid,
    step_name text,
    worker_uuid uuid,
    correlation_id uuid,
    success boolean,
    execution_time_ms bigint,
    from_state text,
    to_state text,
    transition_created_at timestamp,
    result json,
    to_state_after text,
    result_after json,
    payload json
)
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
SET row_security = off
SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH page AS MATERIALIZED (
        SELECT l.*
        FROM step_audit_leaves AS l
        WHERE l.leaf_index > coalesce(p_after_leaf, -1)
        ORDER BY l.leaf_index
        LIMIT p_limit
    ),

    purges AS MATERIALIZED (
        SELECT
            e.step_audit_event_uuid,
            f.leaves
        FROM step_audit_events AS e
        CROSS JOIN LATERAL jsonb_to_record(e.payload) AS f (leaves int8multirange)
        WHERE
            e.kind = 'purged'
            AND f.leaves && int8range(coalesce(p_after_leaf, -1), (SELECT max(p.leaf_index) FROM page AS p), '(]')
    )

    SELECT
        p.leaf_index,
        encode(p.leaf_hash, 'hex'),
        p.kind,
        p.record_uuid,
        CASE
            WHEN r.is_there AND s.leaf_index IS NOT NULL THEN 'present'
            WHEN r.is_there AND x.step_audit_event_uuid IS NOT NULL THEN 'erased'
            WHEN NOT r.is_there AND g.step_audit_event_uuid IS NOT NULL THEN 'purged'
            ELSE 'missing'
        END,
        CASE WHEN r.is_there THEN x.step_audit_event_uuid ELSE g.step_audit_event_uuid END,
        coalesce(CASE WHEN a.backfilled THEN 'backfilled' WHEN NOT a.backfilled THEN 'recorded' END, c.operation, e.kind),
        coalesce(a.recorded_at, c.recorded_at, e.recorded_at),
        coalesce(a.recorded_by, c.recorded_by, e.recorded_by),
        coalesce(a.task_uuid, o.task_uuid, e.task_uuid),
        r.step_uuid,
        r.transition_uuid,
        CASE
            WHEN w.workflow_step_uuid IS NULL
                THEN
                    (
                        SELECT d.step_name
                        FROM step_audit_deleted_steps AS d
                        WHERE d.workflow_step_uuid = r.step_uuid AND d.step_name IS NOT NULL
                        ORDER BY d.recorded_at DESC, d.recorded_xid DESC
                        LIMIT 1
                    )
            ELSE n.name::text
        END,
        coalesce(a.worker_uuid, o.worker_uuid),
        coalesce(a.correlation_id, o.correlation_id),
        a.success,
        a.execution_time_ms,
        coalesce(v.from_state, c.from_state),
        coalesce(v.to_state, c.to_state),
        coalesce(v.created_at, c.transition_created_at),
        CASE WHEN c.step_audit_change_uuid IS NOT NULL THEN b.result ELSE v.result END,
        f.to_state,
        f.result,
        e.payload::json
    FROM page AS p
    LEFT JOIN step_audit_salts AS s ON p.leaf_index = s.leaf_index
    LEFT JOIN tasker_workflow_step_result_audit AS a
        ON p.record_uuid = a.workflow_step_result_audit_uuid AND p.kind ~ 'result$'
    LEFT JOIN step_audit_changes AS c ON p.record_uuid = c.step_audit_change_uuid AND p.kind ~ 'change$'
    LEFT JOIN step_audit_events AS e ON p.record_uuid = e.step_audit_event_uuid AND p.kind = 'event'
    CROSS JOIN LATERAL (
        SELECT
            coalesce(a.workflow_step_transition_uuid, c.workflow_step_transition_uuid, e.workflow_step_transition_uuid)
                AS transition_uuid,
            coalesce(a.workflow_step_uuid, c.workflow_step_uuid, e.workflow_step_uuid) AS step_uuid,
            coalesce(a.workflow_step_result_audit_uuid, c.step_audit_change_uuid, e.step_audit_event_uuid) IS NOT NULL
                AS is_there
    ) AS r
    -- What a result was sealed as: what its first change kept, or the transition, as the seal takes it.
    LEFT JOIN LATERAL (
        (
            SELECT
                k.from_state,
                k.to_state,
                k.transition_created_at AS created_at,
                CASE
                    WHEN k.metadata_json IS NOT NULL
                        THEN get_step_result(k.metadata_json, k.workflow_step_transition_uuid)
                    ELSE get_step_result(k.metadata, k.workflow_step_transition_uuid)
                END AS result
            FROM step_audit_changes AS k
            WHERE
                k.workflow_step_transition_uuid = a.workflow_step_transition_uuid
                AND k.workflow_step_uuid = a.workflow_step_uuid
                AND k.operation <> 'insert'
                AND (a.backfilled OR k.step_audit_change_uuid > a.workflow_step_result_audit_uuid)
            ORDER BY k.step_audit_change_uuid
            LIMIT 1
        )
        UNION ALL
        SELECT
            t.from_state::text,
            t.to_state::text,
            get_utc_time(t.created_at),
            get_step_result(t.metadata, t.workflow_step_transition_uuid)
        FROM tasker_workflow_step_transitions AS t
        WHERE
            t.workflow_step_transition_uuid = a.workflow_step_transition_uuid
            AND t.workflow_step_uuid = a.workflow_step_uuid
        LIMIT 1
    ) AS v ON TRUE
    LEFT JOIN LATERAL (
        SELECT
            CASE
                WHEN c.metadata_json IS NOT NULL
                    THEN get_step_result(c.metadata_json, c.workflow_step_transition_uuid)
                ELSE get_step_result(c.metadata, c.workflow_step_transition_uuid)
            END AS result
        WHERE c.step_audit_change_uuid IS NOT NULL
    ) AS b ON TRUE
    -- What an update made: what the next change kept, or the transition.
    LEFT JOIN LATERAL (
        (
            SELECT
                k.to_state,
                CASE
                    WHEN k.metadata_json IS NOT NULL
                        THEN get_step_result(k.metadata_json, k.workflow_step_transition_uuid)
                    ELSE get_step_result(k.metadata, k.workflow_step_transition_uuid)
                END AS result
            FROM step_audit_changes AS k
            WHERE
                c.operation = 'update'
                AND k.workflow_step_transition_uuid = c.workflow_step_transition_uuid
                AND k.operation <> 'insert'
                AND k.step_audit_change_uuid > c.step_audit_change_uuid
            ORDER BY k.step_audit_change_uuid
            LIMIT 1
        )
        UNION ALL
        SELECT
            t.to_state::text,
            get_step_result(t.metadata, t.workflow_step_transition_uuid)
        FROM tasker_workflow_step_transitions AS t
        WHERE c.operation = 'update' AND t.workflow_step_transition_uuid = c.workflow_step_transition_uuid
        LIMIT 1
    ) AS f ON TRUE
    LEFT JOIN tasker_workflow_step_result_audit AS o
        ON
            c.workflow_step_transition_uuid = o.workflow_step_transition_uuid
            AND c.workflow_step_uuid = o.workflow_step_uuid
    LEFT JOIN tasker_workflow_steps AS w ON r.step_uuid = w.workflow_step_uuid
    LEFT JOIN tasker_named_steps AS n ON w.named_step_uuid = n.named_step_uuid
    LEFT JOIN LATERAL (
        SELECT u.step_audit_event_uuid
        FROM purges AS u
        WHERE NOT r.is_there AND u.leaves @> p.leaf_index
        LIMIT 1
    ) AS g ON TRUE
    LEFT JOIN LATERAL (
        SELECT d.step_audit_event_uuid
        FROM step_audit_events AS d
        WHERE
            s.leaf_index IS NULL
            AND d.workflow_step_transition_uuid = r.transition_uuid
            AND d.kind = 'erased'
            AND d.payload @> jsonb_build_object('leaves', jsonb_build_array(jsonb_build_array(p.leaf_index)))
        ORDER BY d.step_audit_event_uuid
        LIMIT 1
    ) AS x ON TRUE
    ORDER BY p.leaf_index;
END;
$$;

COMMENT ON FUNCTION list_step_audit_log(bigint, integer) IS
'The log in its order: each leaf with the record that was sealed, or with what accounts for its absence.';
