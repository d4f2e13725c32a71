-- Beside the demo's tables: the indexes and keys of an engine at work, and what the benchmarks write.

CREATE INDEX ON tasker_workflow_step_transitions (created_at);
CREATE INDEX ON tasker_workflow_step_transitions (workflow_step_uuid, to_state) WHERE most_recent;

ALTER TABLE tasker_tasks ALTER COLUMN task_uuid SET DEFAULT uuid_generate_v7();
ALTER TABLE tasker_workflow_steps ALTER COLUMN workflow_step_uuid SET DEFAULT uuid_generate_v7();
ALTER TABLE tasker_workflow_step_transitions
ALTER COLUMN workflow_step_transition_uuid SET DEFAULT uuid_generate_v7();

-- The steps that results are written of, in order, and the worker of each.
CREATE TABLE bench_steps (
    number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    step uuid NOT NULL,
    task uuid NOT NULL,
    worker uuid NOT NULL,
    correlation uuid NOT NULL
);

-- is_large: worker and correlation id are the same in all copies, as to put them in takes long.
CREATE TABLE bench_events (name text PRIMARY KEY, metadata jsonb NOT NULL, is_large boolean NOT NULL);

INSERT INTO tasker_named_steps (name) SELECT 'step ' || n FROM generate_series(1, 10) AS n;

-- New tasks of p_steps steps each.
CREATE FUNCTION bench_add_tasks(p_tasks integer, p_steps integer) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
WITH tasks AS (
    INSERT INTO tasker_tasks
    SELECT FROM generate_series(1, p_tasks)
    RETURNING task_uuid
)

INSERT INTO tasker_workflow_steps (task_uuid, named_step_uuid)
SELECT t.task_uuid, n.names[1 + s % 10]
FROM tasks AS t
CROSS JOIN generate_series(0, p_steps - 1) AS s
CROSS JOIN (SELECT array_agg(named_step_uuid) AS names FROM tasker_named_steps) AS n;
END;

-- Steps to write of: the newest ones in order, or ones from everywhere in any order.
CREATE FUNCTION bench_choose_steps(p_count integer, p_newest boolean) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
INSERT INTO bench_steps (step, task, worker, correlation)
SELECT c.workflow_step_uuid, c.task_uuid, ('00000000-0000-4000-8000-00000000000' || c.place % 8)::uuid, t.correlation_id
FROM (
    SELECT s.*, row_number() OVER (ORDER BY CASE WHEN p_newest THEN s.workflow_step_uuid END) AS place
    FROM (
        SELECT * FROM tasker_workflow_steps
        ORDER BY CASE WHEN p_newest THEN workflow_step_uuid ELSE gen_random_uuid() END DESC
        LIMIT p_count
    ) AS s
) AS c
JOIN tasker_tasks AS t USING (task_uuid)
ORDER BY c.place;
END;

CREATE FUNCTION bench_metadata(p_event jsonb, p_worker uuid, p_correlation uuid) RETURNS jsonb
LANGUAGE sql STABLE
RETURN p_event || jsonb_build_object('worker_uuid', p_worker, 'correlation_id', p_correlation);

-- Transitions one by one. p_by_itself: as by an application that writes the audit row itself.
CREATE FUNCTION bench_write_each(
    p_first integer, p_count integer, p_event text, p_state text, p_sort_key integer, p_by_itself boolean
) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    e record;
    r record;
    t uuid;
    v_metadata jsonb;
BEGIN
    -- Taken out of the table's storage once, so that storing it again is not cheaper than it is.
    SELECT metadata || '{}' AS metadata, is_large INTO e FROM bench_events WHERE name = p_event;
    v_metadata := e.metadata;
    FOR r IN
        SELECT s.* FROM bench_steps AS s
        WHERE s.number >= p_first AND s.number < p_first + p_count
        ORDER BY s.number
    LOOP
        IF NOT e.is_large THEN
            v_metadata := bench_metadata(e.metadata, r.worker, r.correlation);
        END IF;
        IF p_by_itself THEN
            INSERT INTO tasker_workflow_step_transitions (
                workflow_step_uuid, from_state, to_state, metadata, sort_key, most_recent
            )
            VALUES (r.step, 'in_progress', p_state, v_metadata, p_sort_key, FALSE)
            RETURNING workflow_step_transition_uuid INTO t;
            INSERT INTO tasker_workflow_step_result_audit (
                workflow_step_uuid, workflow_step_transition_uuid, task_uuid,
                worker_uuid, correlation_id, success, execution_time_ms
            )
            VALUES (r.step, t, r.task, r.worker, r.correlation, TRUE, 12);
        ELSE
            INSERT INTO tasker_workflow_step_transitions (
                workflow_step_uuid, from_state, to_state, metadata, sort_key, most_recent
            )
            VALUES (r.step, 'in_progress', p_state, v_metadata, p_sort_key, FALSE);
        END IF;
    END LOOP;
END;
$$;

-- What the engine changes of the newest transition when the next one comes.
CREATE FUNCTION bench_change_each(p_first integer, p_count integer, p_sort_key integer) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    r record;
BEGIN
    FOR r IN
        SELECT s.step FROM bench_steps AS s
        WHERE s.number >= p_first AND s.number < p_first + p_count
        ORDER BY s.number
    LOOP
        UPDATE tasker_workflow_step_transitions
        SET most_recent = FALSE, updated_at = now() AT TIME ZONE 'UTC'
        WHERE workflow_step_uuid = r.step AND sort_key = p_sort_key;
    END LOOP;
END;
$$;

-- Transitions in one statement.
CREATE FUNCTION bench_write_together(
    p_first integer, p_count integer, p_event text, p_state text, p_sort_key integer, p_by_itself boolean
) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    IF p_by_itself THEN
        WITH written AS (
            INSERT INTO tasker_workflow_step_transitions (
                workflow_step_uuid, from_state, to_state, metadata, sort_key, most_recent
            )
            SELECT s.step, 'in_progress', p_state, bench_metadata(e.metadata, s.worker, s.correlation), p_sort_key, FALSE
            FROM bench_steps AS s, bench_events AS e
            WHERE e.name = p_event AND s.number >= p_first AND s.number < p_first + p_count
            RETURNING workflow_step_uuid, workflow_step_transition_uuid
        )
        INSERT INTO tasker_workflow_step_result_audit (
            workflow_step_uuid, workflow_step_transition_uuid, task_uuid,
            worker_uuid, correlation_id, success, execution_time_ms
        )
        SELECT s.step, w.workflow_step_transition_uuid, s.task, s.worker, s.correlation, TRUE, 12
        FROM written AS w
        JOIN bench_steps AS s ON w.workflow_step_uuid = s.step
        WHERE s.number >= p_first AND s.number < p_first + p_count;
    ELSE
        INSERT INTO tasker_workflow_step_transitions (
            workflow_step_uuid, from_state, to_state, metadata, sort_key, most_recent
        )
        SELECT s.step, 'in_progress', p_state, bench_metadata(e.metadata, s.worker, s.correlation), p_sort_key, FALSE
        FROM bench_steps AS s, bench_events AS e
        WHERE e.name = p_event AND s.number >= p_first AND s.number < p_first + p_count;
    END IF;
END;
$$;

-- p_results results for each of the steps, in key order, as fast as can be: for an engine's past.
CREATE FUNCTION bench_fill_past(p_results integer, p_event text) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
INSERT INTO tasker_workflow_step_transitions (
    workflow_step_uuid, from_state, to_state, metadata, sort_key, most_recent, created_at
)
SELECT
    s.workflow_step_uuid,
    'in_progress',
    CASE WHEN n % 5 = 0 THEN 'enqueued_as_error_for_orchestration' ELSE 'enqueued_for_orchestration' END,
    bench_metadata(
        e.metadata,
        -- Workers come and go, but for one that is always there.
        (
            '00000000-0000-4000-8000-'
            || lpad(to_hex(CASE s.place % 8 WHEN 0 THEN 0 ELSE s.place / 20000 * 8 + s.place % 8 END), 12, '0')
        )::uuid,
        s.correlation_id
    ),
    n,
    n = p_results,
    timestamp '2026-01-01' + s.place * interval '1 second' + n * interval '1 minute'
FROM (
    SELECT w.workflow_step_uuid, t.correlation_id, row_number() OVER (ORDER BY w.workflow_step_uuid) AS place
    FROM tasker_workflow_steps AS w
    JOIN tasker_tasks AS t USING (task_uuid)
) AS s
CROSS JOIN bench_events AS e
-- Lateral, so that the rows come in order without a sort.
CROSS JOIN LATERAL generate_series(1, p_results + (s.place * 0)::integer) AS n
WHERE e.name = p_event;
END;
