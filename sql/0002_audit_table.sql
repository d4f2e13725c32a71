-- 0.1.0: the audit table: one row per worker result.

-- txid_current() is pg_current_xact_id() without its casts, which take 3,000 instructions a row.
-- Keys that grow in order fill their pages to 97 % and not 90; at 100, writers that overlap would split them.
CREATE TABLE tasker_workflow_step_result_audit (
    workflow_step_result_audit_uuid uuid NOT NULL,
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
    recorded_xid bigint NOT NULL DEFAULT txid_current(),
    CONSTRAINT pk_audit PRIMARY KEY (workflow_step_result_audit_uuid) WITH (fillfactor = 97),
    CONSTRAINT uq_audit_step_transition UNIQUE (workflow_step_transition_uuid, workflow_step_uuid)
    WITH (fillfactor = 97)
);

COMMENT ON TABLE tasker_workflow_step_result_audit IS
'One row per worker result: which step, transition, task and worker, when, success, how long; no copy of the result.';
COMMENT ON COLUMN tasker_workflow_step_result_audit.workflow_step_result_audit_uuid IS
'Key of the audit row, a UUIDv7.';
COMMENT ON COLUMN tasker_workflow_step_result_audit.workflow_step_uuid IS
'The step that produced the result.';
COMMENT ON COLUMN tasker_workflow_step_result_audit.workflow_step_transition_uuid IS
'The transition that holds the full result.';
COMMENT ON COLUMN tasker_workflow_step_result_audit.task_uuid IS
'The task of the step.';
COMMENT ON COLUMN tasker_workflow_step_result_audit.recorded_at IS
'When the result was recorded, UTC: the transaction''s time, or the transition''s created_at where backfilled.';
COMMENT ON COLUMN tasker_workflow_step_result_audit.worker_uuid IS
'The worker that produced the result; NULL where the transition does not say.';
COMMENT ON COLUMN tasker_workflow_step_result_audit.correlation_id IS
'The correlation id of the result; NULL where the transition does not say.';
COMMENT ON COLUMN tasker_workflow_step_result_audit.success IS
'Whether the worker reported success; the transition''s target state decides where the result does not say.';
COMMENT ON COLUMN tasker_workflow_step_result_audit.backfilled IS
'True where the row was written by the backfill, false where the trigger wrote it with the transition.';
COMMENT ON COLUMN tasker_workflow_step_result_audit.recorded_by IS
'The role that recorded the result, as it logged in (session_user); NULL where backfilled.';
COMMENT ON COLUMN tasker_workflow_step_result_audit.execution_time_ms IS
'Execution time in milliseconds as the worker reported it; NULL where it did not.';
COMMENT ON COLUMN tasker_workflow_step_result_audit.created_at IS
'When the audit row was written, UTC.';
COMMENT ON COLUMN tasker_workflow_step_result_audit.updated_at IS
'Equal to created_at: an audit row does not change.';
COMMENT ON COLUMN tasker_workflow_step_result_audit.recorded_xid IS
'The transaction that wrote the audit row, 64 bits: what was committed when, for the seal.';
COMMENT ON CONSTRAINT pk_audit ON tasker_workflow_step_result_audit IS
'Identifies an audit row.';
COMMENT ON CONSTRAINT uq_audit_step_transition ON tasker_workflow_step_result_audit IS
'At most one audit row per result; a look-up by transition uses its index.';
