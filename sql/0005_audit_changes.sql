-- 0.1.0: what stood in an audited transition before the engine changed or deleted it.

CREATE TABLE step_audit_changes (
    step_audit_change_uuid uuid NOT NULL,
    operation text NOT NULL,
    workflow_step_transition_uuid uuid,
    workflow_step_uuid uuid,
    from_state text,
    to_state text NOT NULL,
    sort_key bigint,
    transition_created_at timestamp,
    metadata jsonb,
    metadata_json json,
    recorded_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    recorded_by text NOT NULL DEFAULT session_user,
    recorded_xid bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    CONSTRAINT pk_step_audit_change PRIMARY KEY (step_audit_change_uuid)
);

-- What is stored already compressed stays so; what is not is not compressed while the engine waits.
ALTER TABLE step_audit_changes
ALTER metadata SET STORAGE EXTERNAL,
ALTER metadata_json SET STORAGE EXTERNAL;

COMMENT ON TABLE step_audit_changes IS
'What stood in the transition of a worker result before an UPDATE, DELETE or TRUNCATE, or came again: one row each.';
COMMENT ON COLUMN step_audit_changes.step_audit_change_uuid IS
'Key of the change, a UUIDv7: the versions of a transition in the order of their changes.';
COMMENT ON COLUMN step_audit_changes.operation IS
'update, delete or truncate: what ended this version; insert: what came again under the uuid of an audited result.';
COMMENT ON COLUMN step_audit_changes.workflow_step_transition_uuid IS
'The transition.';
COMMENT ON COLUMN step_audit_changes.workflow_step_uuid IS
'Its step.';
COMMENT ON COLUMN step_audit_changes.from_state IS
'The state that the step came from.';
COMMENT ON COLUMN step_audit_changes.to_state IS
'The state that the result brought the step to.';
COMMENT ON COLUMN step_audit_changes.sort_key IS
'The place of the transition among those of its step.';
COMMENT ON COLUMN step_audit_changes.transition_created_at IS
'When the transition was created, UTC.';
COMMENT ON COLUMN step_audit_changes.metadata IS
'Its metadata with the full result, where the engine''s column is of type jsonb.';
COMMENT ON COLUMN step_audit_changes.metadata_json IS
'Its metadata with the full result, where the engine''s column is of type json.';
COMMENT ON COLUMN step_audit_changes.recorded_at IS
'When it was changed or deleted, UTC: the transaction''s time.';
COMMENT ON COLUMN step_audit_changes.recorded_by IS
'The role that did it, as it logged in (session_user).';
COMMENT ON COLUMN step_audit_changes.recorded_xid IS
'The transaction that did it, 64 bits.';
COMMENT ON CONSTRAINT pk_step_audit_change ON step_audit_changes IS
'Identifies a change.';

-- No key: a step may be deleted, come again, and be deleted again.
CREATE TABLE step_audit_deleted_steps (
    workflow_step_uuid uuid NOT NULL,
    task_uuid uuid,
    step_name text,
    recorded_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    recorded_by text NOT NULL DEFAULT session_user,
    recorded_xid bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint)
);

COMMENT ON TABLE step_audit_deleted_steps IS
'The task and the name of each step that the engine deleted.';
COMMENT ON COLUMN step_audit_deleted_steps.workflow_step_uuid IS
'The step.';
COMMENT ON COLUMN step_audit_deleted_steps.task_uuid IS
'Its task.';
COMMENT ON COLUMN step_audit_deleted_steps.step_name IS
'Its name; NULL where that was deleted before.';
COMMENT ON COLUMN step_audit_deleted_steps.recorded_at IS
'When it was deleted, UTC: the transaction''s time.';
COMMENT ON COLUMN step_audit_deleted_steps.recorded_by IS
'The role that deleted it, as it logged in (session_user).';
COMMENT ON COLUMN step_audit_deleted_steps.recorded_xid IS
'The transaction that deleted it, 64 bits.';
