-- Which of these leaves are not the hash of their record any more: what a purge must not take away.
--
--     SELECT list_altered_step_audit_leaves('{[0,2)}');
--
-- p_leaves: leaf indexes. A leaf without a record or a salt is one of them too; of a change or an event
-- that an erasure names, it is enough that the salt is gone. A part of purge_step_result_audit_batch(). It is
-- the database's own word: step-audit verify, which computes all itself, is to be believed instead.

CREATE OR REPLACE FUNCTION list_altered_step_audit_leaves(p_leaves int8multirange)
RETURNS SETOF bigint
LANGUAGE sql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
SET timezone = 'UTC'
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
    SELECT n.leaf_index
    FROM unnest(p_leaves) AS r (leaves)
    CROSS JOIN LATERAL list_step_audit_leaves(lower(r.leaves), upper(r.leaves)) AS n
    LEFT JOIN step_audit_leaves AS l ON n.leaf_index = l.leaf_index
    LEFT JOIN step_audit_changes AS c ON n.leaf IS NULL AND n.record_uuid = c.step_audit_change_uuid
    LEFT JOIN step_audit_events AS e ON n.leaf IS NULL AND n.record_uuid = e.step_audit_event_uuid
    LEFT JOIN LATERAL (
        SELECT
            format_step_audit_change(
                l.kind, l.leaf_index, c.step_audit_change_uuid, c.operation, c.workflow_step_transition_uuid,
                c.workflow_step_uuid, c.from_state, c.to_state, c.sort_key, c.transition_created_at, c.recorded_at,
                c.recorded_xid,
                -- Of what was deleted there is none to look for.
                CASE WHEN c.operation <> 'delete' THEN get_step_audit_successor(c.step_audit_change_uuid, n.salt) END,
                commit_step_audit_payload(n.salt, c.recorded_by, p.payload)
            ) AS leaf
        FROM print_step_audit_change(c.metadata, c.metadata_json, l.kind) AS p
        WHERE c.step_audit_change_uuid IS NOT NULL
        UNION ALL
        SELECT
            format_step_audit_event(
                l.kind, l.leaf_index, e.step_audit_event_uuid, e.kind, e.task_uuid, e.workflow_step_uuid,
                e.workflow_step_transition_uuid, e.recorded_at, e.recorded_xid,
                commit_step_audit_payload(n.salt, e.recorded_by, e.payload::text)
            )
        WHERE e.step_audit_event_uuid IS NOT NULL
    ) AS f ON n.salt IS NOT NULL
    WHERE
        hash_step_audit_leaf(coalesce(n.leaf, f.leaf)) IS DISTINCT FROM n.leaf_hash
        AND (
            n.salt IS NOT NULL
            OR NOT EXISTS (
                SELECT FROM (
                    SELECT
                        o.kind,
                        o.payload
                    FROM step_audit_events AS o
                    WHERE
                        o.workflow_step_transition_uuid
                        = coalesce(c.workflow_step_transition_uuid, e.workflow_step_transition_uuid)
                        AND o.kind IN ('operator action', 'attribution', 'erased')
                    OFFSET 0
                ) AS x
                WHERE
                    x.kind = 'erased'
                    AND x.payload @> jsonb_build_object('leaves', jsonb_build_array(jsonb_build_array(n.leaf_index)))
            )
        );
$$;

COMMENT ON FUNCTION list_altered_step_audit_leaves(int8multirange) IS
'Which of these leaves are not the hash of their record any more: what a purge must not take away.';
