-- Puts all audit rows that are committed and not yet sealed into the Merkle log.
--
--     SELECT sealed, tree_size, complete FROM seal_step_result_audit();
--
-- p_limit: how many at most; not complete: there are more, call again. waiting: audit rows whose
-- transition cannot be seen, which a later seal looks for again. No writer waits: what commits later is
-- in the next seal, however long its transaction. Other seals wait for this one. A role that may execute
-- it can seal, without a right on any table.
-- A row is found by its transaction: the last complete seal covered all that its snapshot showed.
-- Where the transaction ids do not count, after a restore, all rows are looked at once.
-- As in the trigger, arguments have the exact types, so that nothing in the engine's schema can be a
-- better match than what is meant.

CREATE OR REPLACE FUNCTION seal_step_result_audit(
    p_limit bigint DEFAULT 1000000,
    OUT sealed bigint,
    OUT tree_size bigint,
    OUT complete boolean,
    OUT waiting bigint
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
    v_waiting uuid[];
    v_here text := get_step_audit_place();
    -- A transaction that has written before may write yet more, which its own snapshot would cover.
    v_fresh boolean := pg_current_xact_id_if_assigned() IS NULL;
    v_known boolean;
    v_from bigint;
    v_careful boolean := FALSE;
    -- Of 244 random bits, kept nowhere: a salt drawn from it costs a fifth of one drawn by itself.
    v_secret bytea := uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid());
    v_width bigint := 256::bigint;
BEGIN
    PERFORM check_step_audit_seal(p_limit);
    LOCK TABLE step_audit_seals IN EXCLUSIVE MODE;
    -- A table that is being rewritten looks empty to a snapshot from before.
    LOCK TABLE tasker_workflow_step_result_audit IN ACCESS SHARE MODE;
    EXECUTE format('LOCK TABLE %s IN ACCESS SHARE MODE', get_host_table('tasker_workflow_step_transitions'));

    SELECT s.tree_size, s.covered, s.place, s.waiting INTO v_size, v_covered, v_place, v_waiting
    FROM step_audit_seals AS s
    ORDER BY s.tree_size DESC
    LIMIT 1;
    v_size := coalesce(v_size, 0);
    PERFORM check_step_audit_log_size(v_size);
    v_known := v_covered IS NOT NULL AND v_place = v_here;
    v_from := CASE WHEN v_known THEN pg_snapshot_xmin(v_covered)::text::bigint ELSE 0 END;

    LOOP
        BEGIN
            -- One statement, so that it sees just what the snapshot says that it writes down.
            WITH uncovered AS NOT MATERIALIZED (
                SELECT a.*
                FROM tasker_workflow_step_result_audit AS a
                WHERE
                    NOT v_known
                    OR (
                        a.recorded_xid >= v_from
                        AND a.recorded_xid < pg_snapshot_xmax(pg_current_snapshot())::text::bigint
                        AND NOT pg_visible_in_snapshot(a.recorded_xid::text::xid8, v_covered)
                    )
                UNION ALL
                SELECT a.*
                FROM tasker_workflow_step_result_audit AS a
                WHERE v_known AND a.workflow_step_result_audit_uuid = ANY(v_waiting)
            ),

            chosen AS (
                SELECT u.*
                FROM uncovered AS u
                WHERE
                    NOT EXISTS (
                        SELECT FROM step_audit_leaves AS l
                        WHERE l.record_uuid = u.workflow_step_result_audit_uuid
                    )
                    AND EXISTS (
                        SELECT FROM tasker_workflow_step_transitions AS t
                        WHERE
                            t.workflow_step_transition_uuid = u.workflow_step_transition_uuid
                            AND t.workflow_step_uuid = u.workflow_step_uuid
                    )
                LIMIT p_limit
            ),

            numbered AS MATERIALIZED (
                SELECT
                    c.*,
                    v_size + row_number() OVER keys - 1 AS leaf_index,
                    substring(sha256(v_secret || int8send(v_size + row_number() OVER keys - 1)) FROM 1 FOR 16) AS salt
                FROM chosen AS c
                WINDOW keys AS (ORDER BY c.workflow_step_result_audit_uuid)
            ),

            salts AS (
                INSERT INTO step_audit_salts (leaf_index, salt)
                SELECT
                    n.leaf_index,
                    n.salt
                FROM numbered AS n
            ),

            leaves AS (
                INSERT INTO step_audit_leaves (leaf_index, kind, record_uuid, leaf_hash)
                SELECT
                    n.leaf_index,
                    coalesce(p.kind, 'result'),
                    n.workflow_step_result_audit_uuid,
                    sha256(E'\\x00'::bytea || convert_to(
                        format_step_audit_leaf(
                            coalesce(p.kind, 'result'),
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
                            n.execution_time_ms,
                            n.created_at,
                            n.updated_at,
                            n.recorded_xid,
                            t.workflow_step_uuid,
                            t.from_state::text,
                            t.to_state::text,
                            t.created_at::timestamp,
                            commit_step_audit_payload(
                                n.salt,
                                n.recorded_by,
                                CASE WHEN v_careful THEN p.payload ELSE t.metadata::jsonb::text END
                            )
                        ), 'UTF8'::name
                    ))
                FROM numbered AS n
                -- Of a transition that is there twice, as partitions allow, one.
                CROSS JOIN LATERAL (
                    SELECT t.*
                    FROM tasker_workflow_step_transitions AS t
                    WHERE
                        t.workflow_step_transition_uuid = n.workflow_step_transition_uuid
                        AND t.workflow_step_uuid = n.workflow_step_uuid
                    LIMIT 1
                ) AS t
                LEFT JOIN LATERAL print_step_audit_payload(t.metadata) AS p ON v_careful AND t.metadata IS NOT NULL
                RETURNING leaf_index
            ),

            counted AS (
                SELECT count(*) AS leaves FROM leaves
            ),

            waiters AS MATERIALIZED (
                SELECT array_agg(u.workflow_step_result_audit_uuid) AS keys
                FROM (
                    SELECT u.workflow_step_result_audit_uuid
                    FROM uncovered AS u
                    WHERE
                        (SELECT c.leaves FROM counted AS c) < p_limit
                        AND NOT EXISTS (
                            SELECT FROM tasker_workflow_step_transitions AS t
                            WHERE
                                t.workflow_step_transition_uuid = u.workflow_step_transition_uuid
                                AND t.workflow_step_uuid = u.workflow_step_uuid
                        )
                    -- First the few without a transition: to the planner a new log is empty for ever.
                    OFFSET 0
                ) AS u
                WHERE NOT EXISTS (
                    SELECT FROM step_audit_leaves AS l
                    WHERE l.record_uuid = u.workflow_step_result_audit_uuid
                )
            ),

            seal AS (
                INSERT INTO step_audit_seals (tree_size, covered, place, waiting)
                SELECT
                    v_size + c.leaves,
                    CASE WHEN o.is_covered THEN pg_current_snapshot() WHEN v_known THEN v_covered END,
                    v_here,
                    CASE WHEN o.is_covered THEN w.keys WHEN v_known THEN v_waiting END
                FROM counted AS c
                CROSS JOIN waiters AS w
                CROSS JOIN LATERAL (SELECT v_fresh AND c.leaves < p_limit AS is_covered) AS o
                WHERE c.leaves > 0
            )

            SELECT
                c.leaves,
                coalesce(cardinality(w.keys), 0)::bigint
            INTO sealed, waiting
            FROM counted AS c
            CROSS JOIN waiters AS w;
            EXIT;
        EXCEPTION
            WHEN
                invalid_text_representation OR untranslatable_character OR feature_not_supported
                OR statement_too_complex OR numeric_value_out_of_range
                OR program_limit_exceeded OR out_of_memory OR internal_error
            THEN
                IF v_careful THEN
                    RAISE;
                END IF;
                -- Some metadata has no text. Each is printed alone now, in a guard. This transaction has
                -- an id since, which a newer snapshot would cover.
                v_careful := TRUE;
                v_fresh := FALSE;
        END;
    END LOOP;

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
END;
$$;

-- A seal reads the engine's transitions with its owner's rights.
REVOKE EXECUTE ON FUNCTION seal_step_result_audit(bigint) FROM public;

COMMENT ON FUNCTION seal_step_result_audit(bigint) IS
'Puts all audit rows that are committed and not yet sealed into the Merkle log.';
