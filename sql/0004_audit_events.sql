-- 0.1.0: what happened to the evidence that is no result of its own.

CREATE TABLE step_audit_events (
    step_audit_event_uuid uuid NOT NULL,
    kind text NOT NULL,
    task_uuid uuid,
    workflow_step_uuid uuid,
    workflow_step_transition_uuid uuid,
    payload jsonb,
    recorded_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    recorded_by text NOT NULL DEFAULT session_user,
    recorded_xid bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    CONSTRAINT pk_step_audit_event PRIMARY KEY (step_audit_event_uuid)
);

COMMENT ON TABLE step_audit_events IS
'What happened to the evidence, or to a step by hand, and is no result of a worker.';
COMMENT ON COLUMN step_audit_events.step_audit_event_uuid IS
'Key of the event, a UUIDv7.';
COMMENT ON COLUMN step_audit_events.kind IS
'result came again, result without step, operator action, attribution, hold, release, purged or erased.';
COMMENT ON COLUMN step_audit_events.task_uuid IS
'The task that it is about.';
COMMENT ON COLUMN step_audit_events.workflow_step_uuid IS
'The step that it is about.';
COMMENT ON COLUMN step_audit_events.workflow_step_transition_uuid IS
'The transition that it is about.';
COMMENT ON COLUMN step_audit_events.payload IS
'What else there is to say of it, by its kind.';
COMMENT ON COLUMN step_audit_events.recorded_at IS
'When it happened, UTC.';
COMMENT ON COLUMN step_audit_events.recorded_by IS
'The role that did it, as it logged in (session_user).';
COMMENT ON COLUMN step_audit_events.recorded_xid IS
'The transaction that did it, 64 bits.';
COMMENT ON CONSTRAINT pk_step_audit_event ON step_audit_events IS
'Identifies an event.';
