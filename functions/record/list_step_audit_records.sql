-- The records that are about a transition, each with what its leaf commits to, as it can be computed now.
--
--     SELECT kind, leaf_index, is_as_sealed FROM list_step_audit_records('0199f3a2-...');
--
-- Records are its result, its changes, and what an operator did by it, with what was told of that later.
-- leaf_index: NULL where it is not sealed. is_erased: an erasure has named the leaf, and the salt is
-- gone. is_as_sealed: the record, with its salt, still gives the hash of its leaf; FALSE for one that is
-- erased. commitment, successor: as docs/sealing.md tells. A part of plan_step_audit_erasure().

CREATE OR REPLACE FUNCTION list_step_audit_records(p_transition_uuid uuid)
RETURNS TABLE (
    record_uuid uuid,
    kind text,
    task_uuid uuid,
    correlation_id uuid,
    workflow_step_uuid uuid,
    recorded_by text,
    has_payload boolean,
    leaf_index bigint,
    is_erased boolean,
    is_as_sealed boolean,
    commitment bytea,
    successor bytea
)
LANGUAGE sql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
SET timezone = 'UTC'
AS $$
    SELECT
        r.record_uuid,
        r.kind,
        r.task_uuid,
        r.correlation_id,
        r.workflow_step_uuid,
        r.recorded_by,
        r.has_payload,
        l.leaf_index,
        s.salt IS NULL AND EXISTS (
            SELECT FROM step_audit_events AS e
            WHERE
                e.workflow_step_transition_uuid = p_transition_uuid
                AND e.kind = 'erased'
                AND e.payload @> jsonb_build_object('leaves', jsonb_build_array(jsonb_build_array(l.leaf_index)))
        ),
        coalesce(hash_step_audit_leaf(f.leaf) = l.leaf_hash, FALSE),
        f.commitment,
        f.successor
    FROM (
        SELECT
            a.workflow_step_result_audit_uuid AS record_uuid,
            'result' AS kind,
            a.task_uuid,
            a.correlation_id,
            a.workflow_step_uuid,
            a.recorded_by,
            FALSE AS has_payload
        FROM tasker_workflow_step_result_audit AS a
        WHERE a.workflow_step_transition_uuid = p_transition_uuid
        UNION ALL
        SELECT
            c.step_audit_change_uuid,
            'change',
            NULL,
            NULL,
            c.workflow_step_uuid,
            c.recorded_by,
            c.metadata IS NOT NULL OR c.metadata_json IS NOT NULL
        FROM step_audit_changes AS c
        WHERE c.workflow_step_transition_uuid = p_transition_uuid
        UNION ALL
        SELECT
            e.step_audit_event_uuid,
            e.kind,
            e.task_uuid,
            NULL,
            e.workflow_step_uuid,
            e.recorded_by,
            e.payload IS NOT NULL
        FROM step_audit_events AS e
        WHERE e.workflow_step_transition_uuid = p_transition_uuid AND e.kind IN ('operator action', 'attribution')
    ) AS r
    LEFT JOIN step_audit_leaves AS l ON r.record_uuid = l.record_uuid
    LEFT JOIN step_audit_salts AS s ON l.leaf_index = s.leaf_index
    LEFT JOIN LATERAL (
        SELECT
            v.leaf,
            commit_step_audit_payload(v.salt, v.recorded_by, v.payload) AS commitment,
            NULL::bytea AS successor
        FROM list_step_audit_leaves(l.leaf_index, l.leaf_index + 1) AS v
        WHERE r.kind = 'result'
        UNION ALL
        SELECT
            format_step_audit_change(
                l.kind, l.leaf_index, c.step_audit_change_uuid, c.operation, c.workflow_step_transition_uuid,
                c.workflow_step_uuid, c.from_state, c.to_state, c.sort_key, c.transition_created_at, c.recorded_at,
                c.recorded_xid, p.successor, p.commitment
            ),
            p.commitment,
            p.successor
        FROM step_audit_changes AS c
        CROSS JOIN LATERAL (
            SELECT
                commit_step_audit_payload(s.salt, c.recorded_by, m.payload) AS commitment,
                get_step_audit_successor(c.step_audit_change_uuid, s.salt) AS successor
            FROM print_step_audit_change(c.metadata, c.metadata_json, l.kind) AS m
        ) AS p
        WHERE r.kind = 'change' AND c.step_audit_change_uuid = r.record_uuid
        UNION ALL
        SELECT
            format_step_audit_event(
                l.kind, l.leaf_index, e.step_audit_event_uuid, e.kind, e.task_uuid, e.workflow_step_uuid,
                e.workflow_step_transition_uuid, e.recorded_at, e.recorded_xid, p.commitment
            ),
            p.commitment,
            NULL
        FROM step_audit_events AS e
        CROSS JOIN LATERAL (
            SELECT commit_step_audit_payload(s.salt, e.recorded_by, e.payload::text) AS commitment
        ) AS p
        WHERE r.kind NOT IN ('result', 'change') AND e.step_audit_event_uuid = r.record_uuid
    ) AS f ON s.salt IS NOT NULL
    ORDER BY l.leaf_index, r.record_uuid;
$$;

COMMENT ON FUNCTION list_step_audit_records(uuid) IS
'The records that are about a transition, each with what its leaf commits to, as it can be computed now.';
