-- What is wrong between the seals, the log and the audit as a whole; no rows: nothing.
--
--     SELECT finding, workflow_step_result_audit_uuid, field FROM verify_step_audit_seals();
--
-- finding: inserted record, which was not there when its transaction was sealed, or whose transaction
-- there has never been; unsealed leaf, which lies behind the newest seal; altered log. p_since: look
-- only at audit rows written, and seals made, since the log had so many leaves.

CREATE OR REPLACE FUNCTION verify_step_audit_seals(p_since bigint DEFAULT 0)
RETURNS TABLE (
    finding text,
    workflow_step_result_audit_uuid uuid,
    field text,
    stored text,
    expected text
)
LANGUAGE sql
VOLATILE
PARALLEL UNSAFE
SET search_path FROM CURRENT
SET row_security = off
SET plan_cache_mode = force_custom_plan
AS $$
    WITH newest AS (
        SELECT s.*
        FROM step_audit_seals AS s
        ORDER BY s.tree_size DESC
        LIMIT 1
    ),

    before AS (
        SELECT s.*
        FROM step_audit_seals AS s
        WHERE s.tree_size <= p_since AND s.place = get_step_audit_place()
        ORDER BY s.tree_size DESC
        LIMIT 1
    )

    SELECT
        'inserted record',
        a.workflow_step_result_audit_uuid,
        'transaction ' || a.recorded_xid,
        NULL,
        'a leaf in the log of ' || n.tree_size
    FROM tasker_workflow_step_result_audit AS a
    JOIN newest AS n ON n.place = get_step_audit_place()
    WHERE
        (
            a.recorded_xid < 0
            OR (
                a.recorded_xid >= coalesce((SELECT pg_snapshot_xmin(b.covered)::text::bigint FROM before AS b), 0)
                AND (
                    pg_visible_in_snapshot(a.recorded_xid::text::xid8, n.covered)
                    -- What is seen was written by a transaction before these, or by this one.
                    OR (
                        a.recorded_xid >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint
                        AND a.recorded_xid IS DISTINCT FROM pg_current_xact_id_if_assigned()::text::bigint
                    )
                )
            )
        )
        AND NOT EXISTS (
            SELECT FROM step_audit_leaves AS l
            WHERE l.record_uuid = a.workflow_step_result_audit_uuid
        )
        AND (a.workflow_step_result_audit_uuid = ANY(n.waiting)) IS NOT TRUE
    UNION ALL
    SELECT
        'unsealed leaf',
        l.record_uuid,
        'leaf ' || l.leaf_index,
        encode(l.leaf_hash, 'hex'),
        NULL
    FROM step_audit_leaves AS l
    WHERE l.leaf_index >= coalesce((SELECT n.tree_size FROM newest AS n), 0)
    UNION ALL
    SELECT
        'altered log',
        NULL,
        format('subtree %s of height %s', s.subtree_index, s.height),
        encode(s.root_hash, 'hex'),
        NULL
    FROM step_audit_subtrees AS s
    WHERE
        s.height NOT BETWEEN 1 AND 7
        OR s.subtree_index NOT BETWEEN 0
        AND coalesce((SELECT n.tree_size FROM newest AS n), 0) / (256::numeric ^ s.height)::bigint - 1
    UNION ALL
    -- What is covered once stays covered, as long as the place is the same.
    SELECT
        'altered log',
        NULL,
        format('seal of %s leaves', s.tree_size),
        s.covered::text,
        'no less than ' || s.covered_before::text
    FROM (
        SELECT
            s.*,
            lag(s.covered) OVER seals AS covered_before,
            lag(s.place) OVER seals AS place_before
        FROM step_audit_seals AS s
        WHERE s.tree_size >= p_since
        WINDOW seals AS (ORDER BY s.tree_size)
    ) AS s
    WHERE
        s.covered_before IS NOT NULL
        AND (
            s.covered IS NULL
            OR (
                s.place = s.place_before
                AND (
                    pg_snapshot_xmin(s.covered) < pg_snapshot_xmin(s.covered_before)
                    OR pg_snapshot_xmax(s.covered) < pg_snapshot_xmax(s.covered_before)
                )
            )
        );
$$;

COMMENT ON FUNCTION verify_step_audit_seals(bigint) IS
'What is wrong between the seals, the log and the audit as a whole: inserted records, leaves without a seal.';
