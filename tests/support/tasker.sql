-- The tables of today's Tasker, as far as step-audit meets them, and the audit that the engine has of
-- its own, under names that are step-audit's too. Created in schema tasker.

CREATE FUNCTION uuid_generate_v7()
RETURNS uuid
LANGUAGE sql
VOLATILE
PARALLEL SAFE
SET search_path = pg_catalog
AS $$
    -- 48 bits of milliseconds, the version, random bits with the variant.
    SELECT (
        lpad(to_hex(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')
        || '7'
        || substr(replace(gen_random_uuid()::text, '-', ''), 14)
    )::uuid;
$$;

CREATE TABLE tasks (
    task_uuid uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    named_task_uuid uuid,
    correlation_id uuid NOT NULL DEFAULT uuid_generate_v7(),
    complete boolean NOT NULL DEFAULT FALSE,
    requested_at timestamp(6) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    tags jsonb,
    context jsonb,
    priority integer NOT NULL DEFAULT 0,
    created_at timestamp(6) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    updated_at timestamp(6) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')
);

CREATE TABLE named_steps (
    named_step_uuid uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    name varchar(128) NOT NULL
);

CREATE TABLE workflow_steps (
    workflow_step_uuid uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    task_uuid uuid NOT NULL REFERENCES tasks,
    named_step_uuid uuid NOT NULL REFERENCES named_steps,
    in_process boolean NOT NULL DEFAULT FALSE,
    processed boolean NOT NULL DEFAULT FALSE,
    processed_at timestamp,
    attempts integer,
    results jsonb,
    created_at timestamp(6) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    updated_at timestamp(6) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    UNIQUE (task_uuid, named_step_uuid)
);

CREATE TABLE workflow_step_transitions (
    workflow_step_transition_uuid uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    workflow_step_uuid uuid NOT NULL REFERENCES workflow_steps,
    to_state varchar NOT NULL CHECK (
        to_state::text IN (
            'pending', 'enqueued', 'in_progress', 'enqueued_for_orchestration',
            'enqueued_as_error_for_orchestration', 'waiting_for_retry', 'complete', 'error',
            'cancelled', 'resolved_manually'
        )
    ),
    from_state varchar CHECK (
        from_state::text IN (
            'pending', 'enqueued', 'in_progress', 'enqueued_for_orchestration',
            'enqueued_as_error_for_orchestration', 'waiting_for_retry', 'complete', 'error',
            'cancelled', 'resolved_manually'
        )
    ),
    metadata jsonb DEFAULT '{}',
    sort_key integer NOT NULL,
    most_recent boolean NOT NULL DEFAULT TRUE,
    created_at timestamp(6) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    updated_at timestamp(6) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')
);
CREATE UNIQUE INDEX ON workflow_step_transitions (workflow_step_uuid, most_recent)
WHERE most_recent;
CREATE INDEX ON workflow_step_transitions (workflow_step_uuid, sort_key);
CREATE INDEX ON workflow_step_transitions (workflow_step_uuid);
CREATE INDEX ON workflow_step_transitions (workflow_step_transition_uuid, created_at);

-- The engine's own audit.

CREATE TABLE workflow_step_result_audit (
    workflow_step_result_audit_uuid uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    workflow_step_uuid uuid NOT NULL REFERENCES workflow_steps,
    workflow_step_transition_uuid uuid NOT NULL REFERENCES workflow_step_transitions,
    task_uuid uuid NOT NULL REFERENCES tasks,
    recorded_at timestamp NOT NULL DEFAULT now(),
    worker_uuid uuid,
    correlation_id uuid,
    success boolean NOT NULL,
    execution_time_ms bigint,
    created_at timestamp NOT NULL DEFAULT now(),
    updated_at timestamp NOT NULL DEFAULT now(),
    CONSTRAINT uq_audit_step_transition UNIQUE (workflow_step_uuid, workflow_step_transition_uuid)
);
CREATE INDEX idx_audit_step_uuid ON workflow_step_result_audit (workflow_step_uuid);
CREATE INDEX idx_audit_task_uuid ON workflow_step_result_audit (task_uuid);
CREATE INDEX idx_audit_recorded_at ON workflow_step_result_audit (recorded_at);
CREATE INDEX idx_audit_worker_uuid ON workflow_step_result_audit (worker_uuid);
CREATE INDEX idx_audit_correlation_id ON workflow_step_result_audit (correlation_id);
CREATE INDEX idx_audit_success ON workflow_step_result_audit (success);

-- As the engine's, it has no path of its own and needs the rights of whoever inserts. Unlike the
-- engine's, which casts what metadata holds and so may fail with its insert, it does not read
-- metadata: tests write hostile ones.
CREATE FUNCTION create_step_result_audit()
RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF NEW.to_state IN ('enqueued_for_orchestration', 'enqueued_as_error_for_orchestration') THEN
        INSERT INTO workflow_step_result_audit (
            workflow_step_uuid, workflow_step_transition_uuid, task_uuid, success
        )
        SELECT
            NEW.workflow_step_uuid,
            NEW.workflow_step_transition_uuid,
            s.task_uuid,
            NEW.to_state = 'enqueued_for_orchestration'
        FROM workflow_steps AS s
        WHERE s.workflow_step_uuid = NEW.workflow_step_uuid;
    END IF;
    RETURN NEW;
END;
$$;

CREATE TRIGGER trg_step_result_audit AFTER INSERT ON workflow_step_transitions
FOR EACH ROW EXECUTE FUNCTION create_step_result_audit();
