-- What the log holds for a range of its leaves, and what results among them would be sealed as now.
--
--     SELECT leaf_index, leaf_hash, leaf FROM list_step_audit_leaves(0, 256);
--
-- p_first (included) and p_until (not included) are leaf indexes. leaf: the canonical text of a result as
-- it is; NULL where the audit row, its transition or the salt is gone, and for a change or an event. salt,
-- recorded_by and payload are what the leaf commits to; of what was erased, the event has the commitment,
-- and salt is NULL. Where the transition was changed, it is the
-- version that was sealed, as far as one of them is that. A range is read by index, so that it costs
-- what it holds, however long the log.

CREATE OR REPLACE FUNCTION list_step_audit_leaves(p_first bigint, p_until bigint)
RETURNS TABLE (
    leaf_index bigint,
    record_uuid uuid,
    leaf_hash bytea,
    leaf text,
    salt bytea,
    recorded_by text,
    payload text
)
LANGUAGE sql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
SET row_security = off
SET timezone = 'UTC'
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
    SELECT
        l.leaf_index,
        l.record_uuid,
        l.leaf_hash,
        v.leaf,
        s.salt,
        a.recorded_by,
        v.payload
    FROM step_audit_leaves AS l
    LEFT JOIN step_audit_salts AS s ON l.leaf_index = s.leaf_index
    LEFT JOIN tasker_workflow_step_result_audit AS a ON l.record_uuid = a.workflow_step_result_audit_uuid
    LEFT JOIN LATERAL (
        SELECT CASE WHEN j.named ->> 1 ~ '^[0-9a-f]{64}$' THEN decode(j.named ->> 1, 'hex') END AS commitment
        FROM step_audit_events AS e
        CROSS JOIN LATERAL jsonb_path_query(
            -- Strict: lax would take the arrays apart before the filter.
            e.payload,
            'strict $.leaves[*] ? (@[0] == $leaf_index)',
            jsonb_build_object('leaf_index', l.leaf_index),
            TRUE
        ) AS j (named)
        -- The condition stands inside, so that nothing is looked up where there is a salt.
        WHERE
            s.salt IS NULL
            AND e.workflow_step_transition_uuid = a.workflow_step_transition_uuid
            AND e.kind = 'erased'
        LIMIT 1
    ) AS x ON TRUE
    LEFT JOIN LATERAL (
        SELECT
            f.leaf,
            t.payload
        FROM list_step_audit_versions(a.workflow_step_transition_uuid, l.kind) AS t
        CROSS JOIN LATERAL (
            SELECT
                format_step_audit_leaf(
                    l.kind,
                    l.leaf_index,
                    a.workflow_step_result_audit_uuid,
                    a.workflow_step_uuid,
                    a.workflow_step_transition_uuid,
                    a.task_uuid,
                    a.recorded_at,
                    a.worker_uuid,
                    a.correlation_id,
                    a.success,
                    a.backfilled,
                    a.execution_time_ms,
                    a.created_at,
                    a.updated_at,
                    a.recorded_xid,
                    t.workflow_step_uuid,
                    t.from_state,
                    t.to_state,
                    t.created_at,
                    coalesce(commit_step_audit_payload(s.salt, a.recorded_by, t.payload), x.commitment)
                ) AS leaf
            WHERE s.salt IS NOT NULL OR x.commitment IS NOT NULL
        ) AS f
        WHERE t.workflow_step_uuid = a.workflow_step_uuid
        ORDER BY hash_step_audit_leaf(f.leaf) = l.leaf_hash DESC, t.step_audit_change_uuid
        LIMIT 1
    ) AS v ON TRUE
    WHERE l.leaf_index >= p_first AND l.leaf_index < p_until
    ORDER BY l.leaf_index;
$$;

COMMENT ON FUNCTION list_step_audit_leaves(bigint, bigint) IS
'What the log holds for a range of its leaves, and what results among them would be sealed as now.';
