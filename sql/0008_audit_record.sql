-- 0.1.0: the shape of an audited result as readers get it.

CREATE TYPE step_audit AS (
    workflow_step_result_audit_uuid uuid,
    workflow_step_uuid uuid,
    workflow_step_transition_uuid uuid,
    task_uuid uuid,
    recorded_at timestamp,
    worker_uuid uuid,
    correlation_id uuid,
    success boolean,
    backfilled boolean,
    recorded_by text,
    execution_time_ms bigint,
    created_at timestamp,
    updated_at timestamp,
    elapsed_ms bigint,
    step_name text,
    from_state text,
    to_state text,
    sort_key bigint,
    result json,
    changes bigint,
    deleted boolean
);

COMMENT ON TYPE step_audit IS
'An audited result with what the engine''s tables hold, or held, about it: a row of the view step_audits.';
COMMENT ON COLUMN step_audit.elapsed_ms IS
'Milliseconds since the step last went in_progress; NULL if that is none of the ten transitions before, or deleted.';
COMMENT ON COLUMN step_audit.step_name IS
'The name of the step.';
COMMENT ON COLUMN step_audit.from_state IS
'The state that the step came from.';
COMMENT ON COLUMN step_audit.to_state IS
'The state that the result brought the step to.';
COMMENT ON COLUMN step_audit.sort_key IS
'The place of the transition among those of its step.';
COMMENT ON COLUMN step_audit.result IS
'The full result as the worker reported it, digit by digit; NULL where the transition holds none.';
COMMENT ON COLUMN step_audit.changes IS
'How many versions of this result stand no more: 0 for nearly all. See list_step_audit_changes().';
COMMENT ON COLUMN step_audit.deleted IS
'The engine deleted it or changed its key; shown is the version that stood last.';
