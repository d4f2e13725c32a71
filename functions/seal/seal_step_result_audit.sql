-- Puts all records that are committed and not yet sealed into the Merkle log.
--
--     SELECT sealed, tree_size, complete FROM seal_step_result_audit();
--
-- Records are results, changes and events. p_limit: how many of each at most; not complete: there are
-- more, call again. waiting: audit rows whose transition cannot be seen, and was not deleted under our
-- trigger: a later seal looks for it again. A result is sealed as it was recorded: where it was changed
-- since, that is what its first change kept, or the first behind the audit row that the trigger wrote.
-- No writer waits: what commits later is
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
    v_careful boolean := FALSE;
    -- Of 244 random bits, kept nowhere.
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
    IF v_place IS DISTINCT FROM v_here THEN
        v_covered := NULL;
    END IF;
    IF v_covered IS NULL THEN
        v_waiting := NULL;
    END IF;

    LOOP
        BEGIN
            -- One statement, so that it sees just what the snapshot says that it writes down.
            WITH uncovered AS NOT MATERIALIZED (
                SELECT a.*
                FROM tasker_workflow_step_result_audit AS a
                WHERE is_step_audit_uncovered(a.recorded_xid, v_covered)
                UNION ALL
                SELECT a.*
                FROM tasker_workflow_step_result_audit AS a
                WHERE a.workflow_step_result_audit_uuid = ANY(v_waiting)
            ),

            chosen AS (
                SELECT u.*
                FROM uncovered AS u
                WHERE
                    NOT EXISTS (
                        SELECT FROM step_audit_leaves AS l
                        WHERE l.record_uuid = u.workflow_step_result_audit_uuid
                    )
                    AND (
                        EXISTS (
                            SELECT FROM tasker_workflow_step_transitions AS t
                            WHERE
                                t.workflow_step_transition_uuid = u.workflow_step_transition_uuid
                                AND t.workflow_step_uuid = u.workflow_step_uuid
                        )
                        OR EXISTS (
                            SELECT FROM step_audit_changes AS k
                            WHERE
                                k.workflow_step_transition_uuid = u.workflow_step_transition_uuid
                                AND k.workflow_step_uuid = u.workflow_step_uuid
                        )
                    )
                LIMIT p_limit
            ),

            numbered AS MATERIALIZED (
                SELECT
                    c.*,
                    v_size + row_number() OVER keys - 1 AS leaf_index,
                    draw_step_audit_salt(v_secret, v_size + row_number() OVER keys - 1) AS salt
                FROM chosen AS c
                WINDOW keys AS (ORDER BY c.workflow_step_result_audit_uuid)
            ),

            -- Behind the results, the changes; behind them, the events.
            changes AS MATERIALIZED (
                SELECT
                    c.step_audit_change_uuid,
                    (SELECT v_size + count(*) FROM numbered) + row_number() OVER (ORDER BY c.step_audit_change_uuid) - 1
                        AS leaf_index
                FROM (
                    SELECT k.step_audit_change_uuid
                    FROM step_audit_changes AS k
                    WHERE
                        is_step_audit_uncovered(k.recorded_xid, v_covered)
                        AND NOT EXISTS (
                            SELECT FROM step_audit_leaves AS l
                            WHERE l.record_uuid = k.step_audit_change_uuid
                        )
                    LIMIT p_limit
                ) AS c
            ),

            events AS MATERIALIZED (
                SELECT
                    e.step_audit_event_uuid,
                    (SELECT v_size + count(*) FROM numbered) + (SELECT count(*) FROM changes)
                    + row_number() OVER (ORDER BY e.step_audit_event_uuid) - 1 AS leaf_index
                FROM (
                    SELECT v.step_audit_event_uuid
                    FROM step_audit_events AS v
                    WHERE
                        is_step_audit_uncovered(v.recorded_xid, v_covered)
                        AND NOT EXISTS (
                            SELECT FROM step_audit_leaves AS l
                            WHERE l.record_uuid = v.step_audit_event_uuid
                        )
                    LIMIT p_limit
                ) AS e
            ),

            salts AS (
                INSERT INTO step_audit_salts (leaf_index, salt)
                SELECT
                    n.leaf_index,
                    n.salt
                FROM numbered AS n
                UNION ALL
                SELECT
                    o.leaf_index,
                    draw_step_audit_salt(v_secret, o.leaf_index)
                FROM (
                    SELECT c.leaf_index FROM changes AS c
                    UNION ALL
                    SELECT e.leaf_index FROM events AS e
                ) AS o
            ),

            leaves AS (
                INSERT INTO step_audit_leaves (leaf_index, kind, record_uuid, leaf_hash)
                SELECT
                    n.leaf_index,
                    coalesce(p.kind, 'result'),
                    n.workflow_step_result_audit_uuid,
                    hash_step_audit_leaf(
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
                            t.from_state,
                            t.to_state,
                            t.created_at,
                            commit_step_audit_payload(
                                n.salt,
                                n.recorded_by,
                                CASE
                                    WHEN v_careful THEN p.payload
                                    ELSE coalesce(t.metadata::jsonb::text, t.kept::text, t.kept_json::jsonb::text)
                                END
                            )
                        )
                    )
                FROM numbered AS n
                CROSS JOIN LATERAL (
                    (
                        SELECT
                            k.workflow_step_uuid,
                            k.from_state,
                            k.to_state,
                            k.transition_created_at AS created_at,
                            NULL AS metadata,
                            k.metadata AS kept,
                            k.metadata_json AS kept_json
                        FROM step_audit_changes AS k
                        WHERE
                            k.workflow_step_transition_uuid = n.workflow_step_transition_uuid
                            AND k.workflow_step_uuid = n.workflow_step_uuid
                            AND k.operation <> 'insert'
                            AND (n.backfilled OR k.step_audit_change_uuid > n.workflow_step_result_audit_uuid)
                        ORDER BY k.step_audit_change_uuid
                        LIMIT 1
                    )
                    UNION ALL
                    SELECT
                        h.workflow_step_uuid,
                        h.from_state::text,
                        h.to_state::text,
                        h.created_at::timestamp,
                        h.metadata,
                        NULL,
                        NULL
                    FROM tasker_workflow_step_transitions AS h
                    WHERE
                        h.workflow_step_transition_uuid = n.workflow_step_transition_uuid
                        AND h.workflow_step_uuid = n.workflow_step_uuid
                    UNION ALL
                    (
                        SELECT
                            k.workflow_step_uuid,
                            k.from_state,
                            k.to_state,
                            k.transition_created_at AS created_at,
                            NULL AS metadata,
                            k.metadata AS kept,
                            k.metadata_json AS kept_json
                        FROM step_audit_changes AS k
                        WHERE
                            k.workflow_step_transition_uuid = n.workflow_step_transition_uuid
                            AND k.workflow_step_uuid = n.workflow_step_uuid
                        ORDER BY k.step_audit_change_uuid
                        LIMIT 1
                    )
                    -- Of a transition that is there twice, as partitions allow, one.
                    LIMIT 1
                ) AS t
                LEFT JOIN LATERAL (
                    SELECT o.* FROM print_step_audit_payload(t.metadata) AS o WHERE t.metadata IS NOT NULL
                    UNION ALL
                    SELECT o.* FROM print_step_audit_payload(t.kept) AS o WHERE t.kept IS NOT NULL
                    UNION ALL
                    SELECT o.* FROM print_step_audit_payload(t.kept_json) AS o WHERE t.kept_json IS NOT NULL
                ) AS p ON v_careful
                UNION ALL
                SELECT
                    c.leaf_index,
                    coalesce(p.kind, 'change'),
                    k.step_audit_change_uuid,
                    hash_step_audit_leaf(
                        format_step_audit_change(
                            coalesce(p.kind, 'change'),
                            c.leaf_index,
                            k.step_audit_change_uuid,
                            k.operation,
                            k.workflow_step_transition_uuid,
                            k.workflow_step_uuid,
                            k.from_state,
                            k.to_state,
                            k.sort_key,
                            k.transition_created_at,
                            k.recorded_at,
                            k.recorded_xid,
                            CASE
                                WHEN k.operation IN ('update', 'insert')
                                    THEN get_step_audit_successor(k.step_audit_change_uuid, salt.drawn)
                            END,
                            commit_step_audit_payload(
                                salt.drawn,
                                k.recorded_by,
                                CASE
                                    WHEN v_careful THEN p.payload
                                    ELSE coalesce(k.metadata::text, k.metadata_json::jsonb::text)
                                END
                            )
                        )
                    )
                FROM changes AS c
                JOIN step_audit_changes AS k ON c.step_audit_change_uuid = k.step_audit_change_uuid
                CROSS JOIN LATERAL (SELECT draw_step_audit_salt(v_secret, c.leaf_index) AS drawn) AS salt
                LEFT JOIN LATERAL print_step_audit_change(k.metadata, k.metadata_json) AS p ON v_careful
                UNION ALL
                SELECT
                    e.leaf_index,
                    'event',
                    v.step_audit_event_uuid,
                    hash_step_audit_leaf(
                        format_step_audit_event(
                            'event',
                            e.leaf_index,
                            v.step_audit_event_uuid,
                            v.kind,
                            v.task_uuid,
                            v.workflow_step_uuid,
                            v.workflow_step_transition_uuid,
                            v.recorded_at,
                            v.recorded_xid,
                            commit_step_audit_payload(
                                draw_step_audit_salt(v_secret, e.leaf_index), v.recorded_by, v.payload::text
                            )
                        )
                    )
                FROM events AS e
                JOIN step_audit_events AS v ON e.step_audit_event_uuid = v.step_audit_event_uuid
                RETURNING leaf_index
            ),

            counted AS (
                SELECT
                    count(*) AS leaves,
                    (SELECT count(*) FROM numbered) < p_limit
                    AND (SELECT count(*) FROM changes) < p_limit
                    AND (SELECT count(*) FROM events) < p_limit AS is_complete
                FROM leaves
            ),

            waiters AS MATERIALIZED (
                SELECT array_agg(u.workflow_step_result_audit_uuid) AS keys
                FROM (
                    SELECT u.workflow_step_result_audit_uuid
                    FROM uncovered AS u
                    WHERE
                        (SELECT c.is_complete FROM counted AS c)
                        AND NOT EXISTS (
                            SELECT FROM tasker_workflow_step_transitions AS t
                            WHERE
                                t.workflow_step_transition_uuid = u.workflow_step_transition_uuid
                                AND t.workflow_step_uuid = u.workflow_step_uuid
                        )
                        AND NOT EXISTS (
                            SELECT FROM step_audit_changes AS k
                            WHERE
                                k.workflow_step_transition_uuid = u.workflow_step_transition_uuid
                                AND k.workflow_step_uuid = u.workflow_step_uuid
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
                    CASE WHEN o.is_covered THEN pg_current_snapshot() ELSE v_covered END,
                    v_here,
                    CASE WHEN o.is_covered THEN w.keys ELSE v_waiting END
                FROM counted AS c
                CROSS JOIN waiters AS w
                CROSS JOIN LATERAL (SELECT v_fresh AND c.is_complete AS is_covered) AS o
                WHERE c.leaves > 0
            )

            SELECT
                c.leaves,
                c.is_complete,
                coalesce(cardinality(w.keys), 0)::bigint
            INTO sealed, complete, waiting
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
'Puts all records that are committed and not yet sealed into the Merkle log.';
