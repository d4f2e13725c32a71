-- The budget of an audited transition: the least table and indexes that do the job, written by the
-- application itself. What is added to the audit must be added here too, and so be meant.

CREATE TABLE reference_audit (
    audit_uuid uuid PRIMARY KEY,
    workflow_step_uuid uuid NOT NULL,
    workflow_step_transition_uuid uuid NOT NULL,
    task_uuid uuid NOT NULL,
    recorded_at timestamp NOT NULL DEFAULT now(),
    worker_uuid uuid,
    correlation_id uuid,
    success boolean NOT NULL,
    recorded_by text DEFAULT session_user,
    execution_time_ms bigint,
    created_at timestamp NOT NULL DEFAULT now(),
    updated_at timestamp NOT NULL DEFAULT now(),
    recorded_xid bigint NOT NULL DEFAULT txid_current(),
    UNIQUE (workflow_step_transition_uuid, workflow_step_uuid)
);
CREATE INDEX ON reference_audit (workflow_step_uuid);
CREATE INDEX ON reference_audit (task_uuid);
CREATE INDEX ON reference_audit (recorded_at);
CREATE INDEX ON reference_audit (recorded_at) WHERE NOT success;
CREATE INDEX ON reference_audit (worker_uuid);
CREATE INDEX ON reference_audit (correlation_id);
CREATE INDEX ON reference_audit USING brin (recorded_xid);
