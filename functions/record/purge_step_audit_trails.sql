-- Purges the trails of these transitions: first the event that names their leaves, then their rows.
--
--     SELECT purge_step_audit_trails('{0199f3a2-...}', '{[0,2)}', '{"reason": "7 years"}');
--
-- A part of purge_step_result_audit_batch(), which has looked that all of it may go. The guard of each
-- table looks again. What has joined a trail since has no leaf, and stays. lock_not_available where the
-- engine brings one of the transitions back meanwhile.
-- As in the trigger, arguments have the exact types.

CREATE OR REPLACE FUNCTION purge_step_audit_trails(p_transitions uuid[], p_leaves int8multirange, p_told jsonb)
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_leaf_indexes bigint[];
    v_records uuid[];
BEGIN
    INSERT INTO step_audit_events (kind, payload)
    VALUES ('purged', p_told OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('leaves', p_leaves::text));

    -- By their keys, so that no plan can read the whole of a table.
    SELECT
        pg_catalog.array_agg(l.leaf_index),
        pg_catalog.array_agg(l.record_uuid)
    INTO v_leaf_indexes, v_records
    FROM pg_catalog.unnest(p_leaves) AS r (leaves)
    CROSS JOIN LATERAL (
        SELECT
            o.leaf_index,
            o.record_uuid
        FROM step_audit_leaves AS o
        WHERE o.leaf_index >= pg_catalog.lower(r.leaves) AND o.leaf_index < pg_catalog.upper(r.leaves)
        OFFSET 0
    ) AS l;
    DELETE FROM tasker_workflow_step_result_audit_anomalies AS n
    WHERE n.workflow_step_result_audit_uuid = ANY(v_records);
    DELETE FROM step_audit_salts AS s
    WHERE s.leaf_index = ANY(v_leaf_indexes);
    DELETE FROM step_audit_changes AS c
    WHERE c.step_audit_change_uuid = ANY(v_records);
    DELETE FROM step_audit_events AS e
    WHERE e.step_audit_event_uuid = ANY(v_records);
    DELETE FROM tasker_workflow_step_result_audit AS a
    WHERE a.workflow_step_result_audit_uuid = ANY(v_records);

    PERFORM wait_for_engine_writers();
    IF EXISTS (
        SELECT FROM tasker_workflow_step_transitions AS h
        WHERE h.workflow_step_transition_uuid = ANY(p_transitions)
    ) THEN
        RAISE lock_not_available USING
            MESSAGE = 'the engine brought a transition back while it was purged';
    END IF;
END;
$$;

COMMENT ON FUNCTION purge_step_audit_trails(uuid[], int8multirange, jsonb) IS
'Purges the trails of these transitions: first the event that names their leaves, then their rows.';
