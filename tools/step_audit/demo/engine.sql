-- What the demo's engine calls: make a task, record a transition, and rewrite one, as nobody should.

CREATE FUNCTION demo_create_task(p_step_names text[])
RETURNS TABLE (task_uuid uuid, correlation_id uuid, workflow_step_uuid uuid, step_name text)
LANGUAGE sql
AS $$
    INSERT INTO tasker_named_steps (name)
    SELECT unnest(p_step_names)
    ON CONFLICT DO NOTHING;

    WITH task AS (
        INSERT INTO tasker_tasks DEFAULT VALUES
        RETURNING *
    ),

    steps AS (
        INSERT INTO tasker_workflow_steps (task_uuid, named_step_uuid)
        SELECT
            t.task_uuid,
            n.named_step_uuid
        FROM task AS t, unnest(p_step_names) WITH ORDINALITY AS wanted (name, place)
        JOIN tasker_named_steps AS n ON wanted.name = n.name
        ORDER BY wanted.place
        RETURNING *
    )

    SELECT
        t.task_uuid,
        t.correlation_id,
        s.workflow_step_uuid,
        n.name
    FROM task AS t, steps AS s
    JOIN tasker_named_steps AS n ON s.named_step_uuid = n.named_step_uuid
    ORDER BY array_position(p_step_names, n.name::text);
$$;

CREATE FUNCTION demo_record_transition(
    p_step_uuid uuid, p_to_state text, p_metadata jsonb, p_created_at timestamptz
)
RETURNS void
LANGUAGE sql
AS $$
    UPDATE tasker_workflow_step_transitions
    SET most_recent = FALSE
    WHERE workflow_step_uuid = p_step_uuid AND most_recent;

    INSERT INTO tasker_workflow_step_transitions (
        workflow_step_uuid, from_state, to_state, metadata, sort_key, created_at
    )
    SELECT
        p_step_uuid,
        coalesce(
            (
                SELECT t.to_state FROM tasker_workflow_step_transitions AS t
                WHERE t.workflow_step_uuid = p_step_uuid
                ORDER BY t.sort_key DESC
                LIMIT 1
            ),
            'pending'
        ),
        p_to_state,
        p_metadata,
        (
            SELECT count(*) FROM tasker_workflow_step_transitions AS t
            WHERE t.workflow_step_uuid = p_step_uuid
        ),
        p_created_at AT TIME ZONE 'UTC';
$$;

CREATE FUNCTION demo_rewrite_result(p_step_uuid uuid)
RETURNS void
LANGUAGE sql
SET session_replication_role = replica
AS $$
    UPDATE tasker_workflow_step_transitions AS t
    SET metadata = jsonb_set(
        t.metadata, '{event}', to_jsonb(regexp_replace(t.metadata ->> 'event', '"order": *', '"order":9'))
    )
    WHERE t.workflow_step_uuid = p_step_uuid AND t.to_state = 'enqueued_for_orchestration';
$$;
