-- What the application does that writes the audit row itself: the measure of the others, frozen. The
-- table, indexes and defaults are step-audit's as its first design had them, with the specification's
-- three keys, enforced.

CREATE TABLE tasker_workflow_step_result_audit (
    workflow_step_result_audit_uuid uuid NOT NULL DEFAULT uuid_generate_v7(),
    workflow_step_uuid uuid NOT NULL,
    workflow_step_transition_uuid uuid NOT NULL,
    task_uuid uuid NOT NULL,
    recorded_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    worker_uuid uuid,
    correlation_id uuid,
    success boolean NOT NULL,
    backfilled boolean NOT NULL DEFAULT FALSE,
    recorded_by text DEFAULT session_user,
    execution_time_ms bigint,
    created_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    updated_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    recorded_xid bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    CONSTRAINT pk_audit PRIMARY KEY (workflow_step_result_audit_uuid),
    CONSTRAINT uq_audit_step_transition UNIQUE (workflow_step_transition_uuid, workflow_step_uuid),
    CONSTRAINT fk_audit_task FOREIGN KEY (task_uuid) REFERENCES tasker_tasks (task_uuid),
    CONSTRAINT fk_audit_step FOREIGN KEY (workflow_step_uuid) REFERENCES tasker_workflow_steps (workflow_step_uuid),
    CONSTRAINT fk_audit_transition FOREIGN KEY (workflow_step_transition_uuid)
    REFERENCES tasker_workflow_step_transitions (workflow_step_transition_uuid)
);

CREATE INDEX idx_audit_step_uuid ON tasker_workflow_step_result_audit (workflow_step_uuid);
CREATE INDEX idx_audit_task_uuid ON tasker_workflow_step_result_audit (task_uuid);
CREATE INDEX idx_audit_recorded_at ON tasker_workflow_step_result_audit (recorded_at);
CREATE INDEX idx_audit_failures ON tasker_workflow_step_result_audit (recorded_at) WHERE NOT success;
CREATE INDEX idx_audit_worker_uuid ON tasker_workflow_step_result_audit (worker_uuid)
WHERE worker_uuid IS NOT NULL;
CREATE INDEX idx_audit_correlation_id ON tasker_workflow_step_result_audit (correlation_id)
WHERE correlation_id IS NOT NULL;
CREATE INDEX idx_audit_recorded_xid ON tasker_workflow_step_result_audit USING brin (recorded_xid)
WITH (pages_per_range = 32, autosummarize = on);
