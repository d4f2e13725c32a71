-- 0.1.0: the audit table, its anomalies, and the record of what is installed.

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
    execution_time_ms bigint,
    created_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    updated_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    recorded_xid bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    CONSTRAINT pk_audit PRIMARY KEY (workflow_step_result_audit_uuid),
    CONSTRAINT uq_audit_step_transition UNIQUE (workflow_step_transition_uuid, workflow_step_uuid)
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
'At most one audit row per result; its index also serves the foreign key to the transition.';

CREATE TABLE tasker_workflow_step_result_audit_anomalies (
    workflow_step_result_audit_uuid uuid NOT NULL,
    field text NOT NULL,
    raw_value text,
    reason text NOT NULL,
    CONSTRAINT pk_audit_anomaly PRIMARY KEY (workflow_step_result_audit_uuid, field),
    CONSTRAINT fk_audit_anomaly_audit FOREIGN KEY (workflow_step_result_audit_uuid)
    REFERENCES tasker_workflow_step_result_audit (workflow_step_result_audit_uuid)
);

COMMENT ON TABLE tasker_workflow_step_result_audit_anomalies IS
'What could not be read from a transition''s metadata, one row per field; a clean result has none.';
COMMENT ON COLUMN tasker_workflow_step_result_audit_anomalies.workflow_step_result_audit_uuid IS
'The audit row whose field could not be read.';
COMMENT ON COLUMN tasker_workflow_step_result_audit_anomalies.field IS
'event, success, execution_time_ms, worker_uuid or correlation_id.';
COMMENT ON COLUMN tasker_workflow_step_result_audit_anomalies.raw_value IS
'The text that stood there, cut at 200 characters.';
COMMENT ON COLUMN tasker_workflow_step_result_audit_anomalies.reason IS
'Why it could not be read.';
COMMENT ON CONSTRAINT pk_audit_anomaly ON tasker_workflow_step_result_audit_anomalies IS
'A field of a result is unreadable at most once.';
COMMENT ON CONSTRAINT fk_audit_anomaly_audit ON tasker_workflow_step_result_audit_anomalies IS
'An anomaly belongs to an audit row.';

CREATE TABLE step_audit_files (
    path text NOT NULL,
    sha256 text NOT NULL,
    release text NOT NULL,
    definition_sha256 text,
    applied_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    CONSTRAINT pk_step_audit_file PRIMARY KEY (path)
);

COMMENT ON TABLE step_audit_files IS
'What is installed: each file of step-audit that was applied to this schema.';
COMMENT ON COLUMN step_audit_files.path IS
'The file, for instance functions/read/list_step_audits.sql.';
COMMENT ON COLUMN step_audit_files.sha256 IS
'SHA-256 of the file as it was applied, in hexadecimal.';
COMMENT ON COLUMN step_audit_files.release IS
'The installed release of step-audit, the same in each row.';
COMMENT ON COLUMN step_audit_files.definition_sha256 IS
'What list_step_audit_functions() said of the function then, to tell if it was changed since.';
COMMENT ON COLUMN step_audit_files.applied_at IS
'When this text of the file was applied, UTC.';
COMMENT ON CONSTRAINT pk_step_audit_file ON step_audit_files IS
'A file is applied once.';
