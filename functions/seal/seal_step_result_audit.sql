-- Puts all audit rows that are committed and not yet sealed into the Merkle log.
--
--     SELECT sealed, tree_size, complete FROM seal_step_result_audit();
--
-- p_limit: how many at most; not complete: there are more, call again. No writer waits: what commits
-- later is in the next seal, however long its transaction. Other seals wait for this one. A role that
-- may execute it can seal, without a right on any table.
-- A row is found by its transaction: the last complete seal covered all that its snapshot showed.
-- Where the transaction ids do not count, after a restore, all rows are looked at once.
-- As in the trigger, arguments have the exact types, so that nothing in the engine's schema can be a
-- better match than what is meant.

CREATE OR REPLACE FUNCTION seal_step_result_audit(
    p_limit bigint DEFAULT 1000000,
    OUT sealed bigint,
    OUT tree_size bigint,
    OUT complete boolean
)
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path FROM CURRENT
SET row_security = off
SET timezone = 'UTC'
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    v_size bigint;
    v_covered pg_catalog.pg_snapshot;
    v_place text;
    v_here text := get_step_audit_place();
    -- A transaction that has written before may write yet more, which its own snapshot would cover.
    v_fresh boolean := pg_current_xact_id_if_assigned() IS NULL;
    v_known boolean;
    v_from bigint;
    v_width bigint := 256::bigint;
BEGIN
    IF p_limit IS NULL OR p_limit < 1 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = pg_catalog.format('the limit must be at least 1, not %s', coalesce(p_limit::text, 'NULL'));
    END IF;

    LOCK TABLE step_audit_seals IN EXCLUSIVE MODE;
    SELECT s.tree_size, s.covered, s.place INTO v_size, v_covered, v_place
    FROM step_audit_seals AS s
    ORDER BY s.tree_size DESC
    LIMIT 1;
    v_size := coalesce(v_size, 0);
    v_known := v_covered IS NOT NULL AND v_place = v_here;
    v_from := CASE WHEN v_known THEN pg_snapshot_xmin(v_covered)::text::bigint ELSE 0 END;

    -- One statement, so that it sees just what the snapshot says that it writes down.
    WITH unsealed AS (
        SELECT a.*
        FROM tasker_workflow_step_result_audit AS a
        WHERE
            (
                NOT v_known
                OR (
                    a.recorded_xid >= v_from
                    AND a.recorded_xid < pg_snapshot_xmax(pg_current_snapshot())::text::bigint
                    AND NOT pg_visible_in_snapshot(a.recorded_xid::text::xid8, v_covered)
                )
            )
            AND NOT EXISTS (
                SELECT FROM step_audit_leaves AS l
                WHERE l.workflow_step_result_audit_uuid = a.workflow_step_result_audit_uuid
            )
        LIMIT p_limit
    ),

    numbered AS (
        SELECT
            u.*,
            v_size + row_number() OVER (ORDER BY u.workflow_step_result_audit_uuid) - 1 AS leaf_index
        FROM unsealed AS u
    ),

    leaves AS (
        INSERT INTO step_audit_leaves (leaf_index, workflow_step_result_audit_uuid, leaf_hash)
        SELECT
            n.leaf_index,
            n.workflow_step_result_audit_uuid,
            sha256(E'\\x00'::bytea || convert_to(
                format_step_audit_leaf(
                    n.leaf_index,
                    n.workflow_step_result_audit_uuid,
                    n.workflow_step_uuid,
                    n.workflow_step_transition_uuid,
                    n.task_uuid,
                    n.recorded_at,
                    n.worker_uuid,
                    n.correlation_id,
                    n.success,
                    n.backfilled,
                    n.recorded_by,
                    n.execution_time_ms,
                    n.created_at,
                    n.updated_at,
                    n.recorded_xid,
                    t.workflow_step_uuid,
                    t.from_state::text,
                    t.to_state::text,
                    t.created_at::timestamp,
                    t.metadata::text
                ), 'UTF8'::name
            ))
        FROM numbered AS n
        LEFT JOIN tasker_workflow_step_transitions AS t
            ON n.workflow_step_transition_uuid = t.workflow_step_transition_uuid
        RETURNING leaf_index
    ),

    counted AS (
        SELECT count(*) AS leaves FROM leaves
    ),

    seal AS (
        INSERT INTO step_audit_seals (tree_size, covered, place)
        SELECT
            v_size + c.leaves,
            CASE WHEN v_fresh AND c.leaves < p_limit THEN pg_current_snapshot() ELSE v_covered END,
            CASE WHEN v_fresh AND c.leaves < p_limit THEN v_here ELSE v_place END
        FROM counted AS c
        WHERE c.leaves > 0
    )

    SELECT c.leaves INTO sealed FROM counted AS c;

    tree_size := v_size + sealed;
    complete := sealed < p_limit;

    FOR v_height IN 1..7 LOOP
        EXIT WHEN tree_size / v_width = v_size / v_width;
        INSERT INTO step_audit_subtrees (height, subtree_index, root_hash)
        SELECT
            v_height,
            s.subtree_index,
            s.root_hash
        FROM compute_step_audit_subtrees(v_height, v_size / v_width, tree_size / v_width) AS s;
        v_width := v_width * 256;
    END LOOP;
EXCEPTION
    -- The snapshot of a REPEATABLE READ transaction may be older than another's seal.
    WHEN unique_violation THEN
        RAISE serialization_failure USING
            MESSAGE = 'another seal was made since this transaction began',
            HINT = 'Call it again, in a new transaction; best in READ COMMITTED.';
END;
$$;

-- A seal reads the engine's transitions with its owner's rights.
REVOKE EXECUTE ON FUNCTION seal_step_result_audit(bigint) FROM public;

COMMENT ON FUNCTION seal_step_result_audit(bigint) IS
'Puts all audit rows that are committed and not yet sealed into the Merkle log.';
