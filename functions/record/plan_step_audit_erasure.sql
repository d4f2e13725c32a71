-- What an erasure of a transition touches, and why it would be refused.
--
--     SELECT leaves, refusal FROM plan_step_audit_erasure('0199f3a2-...');
--
-- leaves: what its event names, [leaf index, commitment, successor, recorded_by] each; leaf_indexes: the first of
-- these. Both are NULL where all is erased. How many rows are to become empty: transitions, of the
-- engine's; changes; anomalies; events. refusal: NULL, or why nothing of it can be erased; hint: what to
-- do about it. A part of erase_step_audit_transition()
-- and list_step_audit_erasures().

CREATE OR REPLACE FUNCTION plan_step_audit_erasure(
    p_transition_uuid uuid,
    OUT task_uuid uuid,
    OUT workflow_step_uuid uuid,
    OUT leaves jsonb,
    OUT leaf_indexes bigint[],
    OUT transitions bigint,
    OUT changes bigint,
    OUT anomalies bigint,
    OUT events bigint,
    OUT refusal text,
    OUT hint text
)
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_found record;
    v_standing bigint;
BEGIN
    SELECT
        (pg_catalog.array_agg(r.task_uuid) FILTER (WHERE r.task_uuid IS NOT NULL))[1] AS task_uuid,
        (pg_catalog.array_agg(r.workflow_step_uuid) FILTER (WHERE r.workflow_step_uuid IS NOT NULL))[1] AS step_uuid,
        pg_catalog.array_agg(r.record_uuid) AS record_uuids,
        pg_catalog.jsonb_agg(
            pg_catalog.jsonb_build_array(
                r.leaf_index,
                pg_catalog.encode(r.commitment, 'hex'::text),
                pg_catalog.encode(r.successor, 'hex'::text),
                r.recorded_by
            )
            ORDER BY r.leaf_index
        ) FILTER (WHERE NOT r.is_erased) AS leaves,
        pg_catalog.array_agg(r.leaf_index) FILTER (WHERE NOT r.is_erased) AS leaf_indexes,
        pg_catalog.count(*) AS records,
        bool_or(is_step_audit_held(p_transition_uuid, r.workflow_step_uuid, r.task_uuid)) AS is_held,
        pg_catalog.count(*) FILTER (WHERE r.leaf_index IS NULL) AS unsealed,
        pg_catalog.min(r.leaf_index) FILTER (WHERE NOT r.is_as_sealed AND NOT r.is_erased) AS altered,
        pg_catalog.count(*) FILTER (WHERE r.kind IN ('result', 'change')) AS versions,
        pg_catalog.count(*) FILTER (WHERE r.kind IN ('result', 'change') AND NOT r.is_erased) AS versions_left,
        pg_catalog.count(*) FILTER (WHERE r.kind = 'change' AND r.has_payload) AS changes,
        pg_catalog.count(*) FILTER (WHERE r.kind NOT IN ('result', 'change') AND r.has_payload) AS events
    INTO v_found
    FROM list_step_audit_records(p_transition_uuid) AS r;

    task_uuid := v_found.task_uuid;
    workflow_step_uuid := v_found.step_uuid;
    leaves := v_found.leaves;
    leaf_indexes := v_found.leaf_indexes;
    changes := v_found.changes;
    events := v_found.events;
    SELECT pg_catalog.count(*) INTO anomalies
    FROM tasker_workflow_step_result_audit_anomalies AS n
    WHERE n.workflow_step_result_audit_uuid = ANY(v_found.record_uuids) AND n.raw_value IS NOT NULL;
    -- The metadata of what is no result, and never was one, is the engine's alone.
    SELECT
        pg_catalog.count(*),
        pg_catalog.count(*) FILTER (WHERE is_worker_result(t.to_state::text))
    INTO transitions, v_standing
    FROM tasker_workflow_step_transitions AS t
    WHERE
        t.workflow_step_transition_uuid = p_transition_uuid
        AND v_found.versions > 0
        AND NOT is_erased_metadata(t.metadata);

    IF v_found.records = 0 THEN
        refusal := pg_catalog.format(
            'transition %s has no record', VARIADIC ARRAY[coalesce(p_transition_uuid::text, 'NULL')]
        );
        hint := 'Is it a transition of this database?';
    ELSIF v_found.is_held THEN
        refusal := pg_catalog.format('transition %s is held', VARIADIC ARRAY[p_transition_uuid::text]);
        hint := 'step-audit holds tells by whom and why; once it is released, erase again.';
    ELSIF v_found.unsealed > 0 THEN
        refusal := pg_catalog.format(
            '%s of the %s records of transition %s are not sealed, and nothing would tell what they held',
            VARIADIC ARRAY[v_found.unsealed::text, v_found.records::text, p_transition_uuid::text]
        );
        hint := 'Seal first: step-audit seal, or SELECT seal_step_result_audit().';
    ELSIF v_found.altered IS NOT NULL OR (v_standing > 0 AND v_found.versions_left = 0) THEN
        refusal := pg_catalog.format(
            'transition %s is not as it was sealed%s: erased, nobody could tell any more that it was altered',
            VARIADIC ARRAY[p_transition_uuid::text, coalesce(' (leaf ' || v_found.altered::text || ')', '')]
        );
        hint := 'step-audit verify names what was altered.';
    END IF;
END;
$$;

COMMENT ON FUNCTION plan_step_audit_erasure(uuid) IS
'What an erasure of a transition touches, and why it would be refused.';
