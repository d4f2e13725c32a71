-- Numbers for a monitoring system, cheap enough for every few seconds however large the audit is.
--
--     SELECT metric, label, value FROM get_step_audit_metrics();
--
-- No large table is read as a whole. records, by kind, and anomalies, by field, are as
-- estimate_step_audit_rows() has them, the fields shared out by at most 8 MB of them. unsealed, by
-- kind, counts what no seal covers, of each kind up to 10,000, and oldest_unsealed_seconds is the age of the
-- oldest of these; neither is given where that is not known without a look at all, which is after a restore
-- until the next seal. recent_unaudited counts results without an audit row among the 10,000 transitions
-- with the greatest keys, which are the newest where keys are UUIDv7; it is not given where no index begins
-- with the key. For exact counts: get_step_audit_status(). Needs the rights of a reader.

CREATE OR REPLACE FUNCTION get_step_audit_metrics()
RETURNS TABLE (
    metric text,
    label text,
    value double precision
)
LANGUAGE plpgsql
VOLATILE
PARALLEL UNSAFE
SET search_path FROM CURRENT
-- What is not sealed is found by the index at any number of records: to the planner, a LIMIT makes reading
-- all of a table look cheap.
SET enable_seqscan = off
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    v_limit bigint := 10000::bigint;
    v_seal step_audit_seals;
    v_anomalies double precision := estimate_step_audit_rows('tasker_workflow_step_result_audit_anomalies'::regclass);
    v_percent real := least(
        100::real,
        838860800::real / greatest(pg_relation_size('tasker_workflow_step_result_audit_anomalies'::regclass), 1)::real
    );
    v_transitions regclass := get_host_table('tasker_workflow_step_transitions');
BEGIN
    RETURN QUERY
    SELECT
        m.metric,
        m.label,
        m.value
    FROM get_step_audit_health() AS h
    CROSS JOIN LATERAL (
        VALUES
        ('attached', NULL, h.attached::integer::double precision),
        ('trigger_enabled', NULL, (h.trigger_state = 'enabled')::integer::double precision)
    ) AS m (metric, label, value);

    RETURN QUERY
    SELECT
        'records',
        t.kind,
        estimate_step_audit_rows(t.table_name::regclass)
    FROM (
        VALUES
        ('result', 'tasker_workflow_step_result_audit'),
        ('change', 'step_audit_changes'),
        ('event', 'step_audit_events')
    ) AS t (kind, table_name);

    RETURN QUERY
    SELECT
        'bytes',
        t.table_name,
        pg_total_relation_size(t.table_name::regclass)::double precision
    FROM list_step_audit_tables() AS t;

    RETURN QUERY
    SELECT
        'anomalies',
        a.field,
        round(v_anomalies * count(*)::double precision / (sum(count(*)) OVER ())::double precision)
    FROM tasker_workflow_step_result_audit_anomalies AS a TABLESAMPLE system (v_percent)
    GROUP BY a.field;

    SELECT s.* INTO v_seal
    FROM step_audit_seals AS s
    ORDER BY s.tree_size DESC
    LIMIT 1;
    RETURN QUERY VALUES ('sealed', NULL, coalesce(v_seal.tree_size, 0)::double precision);
    IF v_seal.sealed_at IS NOT NULL THEN
        RETURN QUERY VALUES ('last_seal_epoch', NULL, extract(EPOCH FROM v_seal.sealed_at)::double precision);
    END IF;

    IF v_seal.tree_size IS NULL OR v_seal.covered IS NOT NULL AND v_seal.place = get_step_audit_place() THEN
        RETURN QUERY
        WITH unsealed AS MATERIALIZED (
            (
                SELECT
                    'result' AS kind,
                    a.recorded_at
                FROM tasker_workflow_step_result_audit AS a
                WHERE is_step_audit_uncovered(a.recorded_xid, v_seal.covered)
                LIMIT v_limit
            )
            UNION ALL
            (
                SELECT
                    'change',
                    c.recorded_at
                FROM step_audit_changes AS c
                WHERE is_step_audit_uncovered(c.recorded_xid, v_seal.covered)
                LIMIT v_limit
            )
            UNION ALL
            (
                SELECT
                    'event',
                    e.recorded_at
                FROM step_audit_events AS e
                WHERE is_step_audit_uncovered(e.recorded_xid, v_seal.covered)
                LIMIT v_limit
            )
            UNION ALL
            SELECT
                'result',
                a.recorded_at
            FROM tasker_workflow_step_result_audit AS a
            WHERE a.workflow_step_result_audit_uuid = ANY(v_seal.waiting)
        )

        SELECT
            'unsealed',
            k.kind,
            count(u.kind)::double precision
        FROM (VALUES ('result'), ('change'), ('event')) AS k (kind)
        LEFT JOIN unsealed AS u ON k.kind = u.kind
        GROUP BY k.kind
        UNION ALL
        SELECT
            'oldest_unsealed_seconds',
            NULL,
            coalesce(extract(EPOCH FROM (now() AT TIME ZONE 'UTC') - min(u.recorded_at)), 0)::double precision
        FROM unsealed AS u;
    END IF;

    IF EXISTS (
        SELECT FROM pg_index AS i
        JOIN pg_attribute AS a ON i.indrelid = a.attrelid AND i.indkey[0] = a.attnum
        WHERE
            i.indrelid = v_transitions
            AND i.indisvalid
            AND i.indpred IS NULL
            AND a.attname = 'workflow_step_transition_uuid'
    ) THEN
        RETURN QUERY
        SELECT
            'recent_unaudited',
            NULL,
            count(*)::double precision
        FROM (
            SELECT
                t.workflow_step_uuid,
                t.workflow_step_transition_uuid,
                t.to_state::text AS to_state
            FROM tasker_workflow_step_transitions AS t
            ORDER BY t.workflow_step_transition_uuid DESC
            LIMIT v_limit
        ) AS t
        WHERE
            is_worker_result(t.to_state)
            AND NOT EXISTS (
                SELECT FROM tasker_workflow_step_result_audit AS a
                WHERE
                    a.workflow_step_uuid = t.workflow_step_uuid
                    AND a.workflow_step_transition_uuid = t.workflow_step_transition_uuid
            );
    END IF;
END;
$$;

COMMENT ON FUNCTION get_step_audit_metrics() IS
'Numbers for a monitoring system, by estimates and bounded counts: cheap however large the audit is.';
