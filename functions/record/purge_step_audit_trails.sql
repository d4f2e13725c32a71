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
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
BEGIN
    INSERT INTO step_audit_events (kind, payload)
    VALUES ('purged', p_told OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('leaves', p_leaves::text));

    DELETE FROM tasker_workflow_step_result_audit_anomalies AS n
    USING pg_catalog.unnest(p_leaves) AS r (leaves), step_audit_leaves AS l
    WHERE
        l.leaf_index >= pg_catalog.lower(r.leaves)
        AND l.leaf_index < pg_catalog.upper(r.leaves)
        AND n.workflow_step_result_audit_uuid = l.record_uuid;

    DELETE FROM step_audit_salts AS s
    USING pg_catalog.unnest(p_leaves) AS r (leaves)
    WHERE s.leaf_index >= pg_catalog.lower(r.leaves) AND s.leaf_index < pg_catalog.upper(r.leaves);

    DELETE FROM step_audit_changes AS c
    USING pg_catalog.unnest(p_leaves) AS r (leaves), step_audit_leaves AS l
    WHERE
        l.leaf_index >= pg_catalog.lower(r.leaves)
        AND l.leaf_index < pg_catalog.upper(r.leaves)
        AND c.step_audit_change_uuid = l.record_uuid;

    DELETE FROM step_audit_events AS e
    USING pg_catalog.unnest(p_leaves) AS r (leaves), step_audit_leaves AS l
    WHERE
        l.leaf_index >= pg_catalog.lower(r.leaves)
        AND l.leaf_index < pg_catalog.upper(r.leaves)
        AND e.step_audit_event_uuid = l.record_uuid;

    DELETE FROM tasker_workflow_step_result_audit AS a
    USING pg_catalog.unnest(p_leaves) AS r (leaves), step_audit_leaves AS l
    WHERE
        l.leaf_index >= pg_catalog.lower(r.leaves)
        AND l.leaf_index < pg_catalog.upper(r.leaves)
        AND a.workflow_step_result_audit_uuid = l.record_uuid;

    PERFORM wait_for_engine_writers();
    IF EXISTS (
        SELECT FROM pg_catalog.unnest(p_transitions) AS t (transition_uuid)
        JOIN tasker_workflow_step_transitions AS h ON h.workflow_step_transition_uuid = t.transition_uuid
    ) THEN
        RAISE lock_not_available USING
            MESSAGE = 'the engine brought a transition back while it was purged';
    END IF;
END;
$$;

COMMENT ON FUNCTION purge_step_audit_trails(uuid[], int8multirange, jsonb) IS
'Purges the trails of these transitions: first the event that names their leaves, then their rows.';
