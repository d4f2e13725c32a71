-- One batch of the purge: looks at the next records, and purges the trails of them that may go.
--
--     SELECT * FROM purge_step_result_audit_batch('2025-01-01', '7 years are over', 'ann');
--
-- p_before: all of a trail was recorded before it, UTC. p_phase, p_after_recorded_at, p_after_key: next_...
-- of the batch before, none at the start. Gives next_phase, NULL once there is no more; how many audit
-- rows, changes and events it purged; and how many trails stay: as the engine still has the transition, as
-- they are held, not wholly sealed, or partly younger. altered_leaves: one of each trail that stays as it is
-- not as it was sealed. A dry run counts the same, and writes nothing. It commits nothing;
-- purge_step_result_audit() does. A role that may execute it needs no right on any table.
-- A batch names 128 ranges of leaves at most, as the guard reads them again for each row: where what goes
-- lies scattered among what stays, it looks at fewer records than p_batch_size, and next_batch_size says
-- how many the next should.
-- Where something is locked it gives up after 500 ms with lock_not_available: try the batch again.
-- As in the trigger, arguments have the exact types.

CREATE OR REPLACE FUNCTION purge_step_result_audit_batch(
    p_before timestamp,
    p_reason text,
    p_operator text DEFAULT NULL,
    p_batch_size integer DEFAULT 1000,
    p_dry_run boolean DEFAULT FALSE,
    p_phase text DEFAULT 'records',
    p_after_recorded_at timestamp DEFAULT NULL,
    p_after_key uuid DEFAULT NULL,
    OUT next_phase text,
    OUT next_recorded_at timestamp,
    OUT next_key uuid,
    OUT next_batch_size integer,
    OUT records bigint,
    OUT changes bigint,
    OUT events bigint,
    OUT kept_by_engine bigint,
    OUT kept_by_hold bigint,
    OUT kept_unsealed bigint,
    OUT kept_younger bigint,
    OUT altered_leaves bigint[]
)
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path FROM CURRENT
SET row_security = off
SET timezone = 'UTC'
SET lock_timeout = '500ms'
AS $$
DECLARE
    v_times timestamp[];
    v_keys uuid[];
    v_transitions uuid[];
    v_leaves pg_catalog.int8multirange[];
    v_stays_for text[];
    v_records bigint[];
    v_changes bigint[];
    v_events bigint[];
    v_named pg_catalog.int8multirange;
    v_altered pg_catalog.int8multirange;
    v_looked_at integer;
    v_told jsonb;
BEGIN
    PERFORM check_retention_reason(p_reason, p_operator);
    PERFORM check_step_audit_purge(p_before, p_batch_size);
    records := 0;
    changes := 0;
    events := 0;
    kept_by_engine := 0;
    kept_by_hold := 0;
    kept_unsealed := 0;
    kept_younger := 0;
    altered_leaves := '{}'::bigint[];
    v_told := pg_catalog.jsonb_build_object('before', p_before, 'reason', p_reason, 'operator', p_operator);
    IF NOT p_dry_run THEN
        PERFORM lock_step_audit_retention(p_shared => FALSE);
        IF p_phase = 'records'::text AND p_after_key IS NULL THEN
            PERFORM extend_step_audit_holds();
        END IF;
    END IF;

    next_batch_size := p_batch_size;
    IF p_phase = 'deleted steps'::text THEN
        IF NOT p_dry_run THEN
            SELECT p.last_step_uuid INTO next_key
            FROM purge_deleted_steps(p_before, v_told, p_after_key, p_batch_size) AS p;
            next_phase := CASE WHEN next_key IS NOT NULL THEN p_phase END;
        END IF;
        RETURN;
    END IF;

    SELECT
        pg_catalog.array_agg(p.recorded_at ORDER BY p.place),
        pg_catalog.array_agg(p.record_key ORDER BY p.place),
        pg_catalog.array_agg(p.transition_uuid ORDER BY p.place)
    INTO v_times, v_keys, v_transitions
    FROM list_step_audit_purge_page(p_phase, p_after_recorded_at, p_after_key, p_before, p_batch_size)
        WITH ORDINALITY AS p (recorded_at, record_key, transition_uuid, place);
    -- Keys are in about the order of time: behind a page of younger ones there is nothing.
    IF v_keys IS NULL OR p_before <= ALL(v_times) THEN
        next_phase := CASE p_phase WHEN 'records' THEN 'events' WHEN 'events' THEN 'changes' ELSE 'deleted steps' END;
        RETURN;
    END IF;

    SELECT
        pg_catalog.array_agg(CASE WHEN w.stays_for IS NULL THEN w.leaves END ORDER BY w.place),
        pg_catalog.array_agg(w.stays_for ORDER BY w.place),
        pg_catalog.array_agg(w.records ORDER BY w.place),
        pg_catalog.array_agg(w.changes ORDER BY w.place),
        pg_catalog.array_agg(w.events ORDER BY w.place)
    INTO v_leaves, v_stays_for, v_records, v_changes, v_events
    FROM list_step_audit_trails(v_transitions, p_before) WITH ORDINALITY
        AS w (workflow_step_transition_uuid, stays_for, leaves, records, changes, events, place);

    -- What was tampered with must not vanish as if its time had come: no leaf hash tells what it was.
    SELECT pg_catalog.range_agg(pg_catalog.int8range(f.leaf_index, f.leaf_index, '[]'::text)) INTO v_altered
    FROM list_altered_step_audit_leaves(
        (SELECT coalesce(pg_catalog.range_agg(l.leaves), '{}') FROM pg_catalog.unnest(v_leaves) AS l (leaves))
    ) AS f (leaf_index);
    IF v_altered IS NOT NULL THEN
        SELECT
            pg_catalog.array_agg(CASE WHEN t.altered_leaf IS NULL THEN t.leaves END ORDER BY t.place),
            pg_catalog.array_agg(CASE WHEN t.altered_leaf IS NULL THEN t.stays_for ELSE 'alteration' END ORDER BY t.place),
            pg_catalog.array_agg(t.altered_leaf ORDER BY t.place)
        INTO v_leaves, v_stays_for, altered_leaves
        FROM (
            SELECT
                u.leaves,
                u.stays_for,
                u.place,
                pg_catalog.lower(u.leaves OPERATOR(pg_catalog.*) v_altered) AS altered_leaf
            FROM ROWS FROM (pg_catalog.unnest(v_leaves), pg_catalog.unnest(v_stays_for)) WITH ORDINALITY
                AS u (leaves, stays_for, place)
        ) AS t;
    END IF;

    v_looked_at := pg_catalog.cardinality(v_keys);
    LOOP
        SELECT pg_catalog.range_agg(l.leaves) INTO v_named
        FROM pg_catalog.unnest(v_leaves[1:v_looked_at]) AS l (leaves);
        EXIT WHEN v_looked_at = 1 OR v_named IS NULL
        OR (SELECT pg_catalog.count(*) FROM pg_catalog.unnest(v_named)) <= 128;
        v_looked_at := v_looked_at / 2;
    END LOOP;

    SELECT
        coalesce(pg_catalog.sum(t.records) FILTER (WHERE t.stays_for IS NULL), 0)::bigint,
        coalesce(pg_catalog.sum(t.changes) FILTER (WHERE t.stays_for IS NULL), 0)::bigint,
        coalesce(pg_catalog.sum(t.events) FILTER (WHERE t.stays_for IS NULL), 0)::bigint,
        pg_catalog.count(*) FILTER (WHERE t.stays_for = 'engine'),
        pg_catalog.count(*) FILTER (WHERE t.stays_for = 'hold'),
        pg_catalog.count(*) FILTER (WHERE t.stays_for = 'seal'),
        pg_catalog.count(*) FILTER (WHERE t.stays_for = 'time')
    INTO records, changes, events, kept_by_engine, kept_by_hold, kept_unsealed, kept_younger
    FROM ROWS FROM (
        pg_catalog.unnest(v_stays_for[1:v_looked_at]),
        pg_catalog.unnest(v_records[1:v_looked_at]),
        pg_catalog.unnest(v_changes[1:v_looked_at]),
        pg_catalog.unnest(v_events[1:v_looked_at])
    ) AS t (stays_for, records, changes, events);
    altered_leaves := pg_catalog.array_remove(altered_leaves[1:v_looked_at], NULL::bigint);

    IF v_named IS NOT NULL AND NOT p_dry_run THEN
        SELECT pg_catalog.array_agg(t.transition_uuid) INTO v_transitions
        FROM ROWS FROM (
            pg_catalog.unnest(v_transitions[1:v_looked_at]), pg_catalog.unnest(v_stays_for[1:v_looked_at])
        ) AS t (transition_uuid, stays_for)
        WHERE t.transition_uuid IS NOT NULL AND t.stays_for IS NULL;
        PERFORM purge_step_audit_trails(
            v_transitions,
            v_named,
            v_told OPERATOR(pg_catalog.||)
            pg_catalog.jsonb_build_object('records', records, 'changes', changes, 'events', events)
        );
    END IF;
    next_phase := p_phase;
    next_recorded_at := v_times[v_looked_at];
    next_key := v_keys[v_looked_at];
    next_batch_size := CASE
        WHEN v_looked_at < pg_catalog.cardinality(v_keys) THEN v_looked_at
        ELSE least(p_batch_size::bigint * 2, 1000000::bigint)::integer
    END;
END;
$$;

-- Who may purge is the owner's choice.
REVOKE EXECUTE ON FUNCTION purge_step_result_audit_batch(
    timestamp, text, text, integer, boolean, text, timestamp, uuid
) FROM public;

COMMENT ON FUNCTION purge_step_result_audit_batch(timestamp, text, text, integer, boolean, text, timestamp, uuid) IS
'One batch of the purge: looks at the next records, and purges the trails of them that may go.';
