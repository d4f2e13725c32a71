-- A workflow engine's tables, as far as step-audit touches them: for the demo and the tests.

CREATE TABLE tasker_tasks (
    task_uuid uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    correlation_id uuid NOT NULL DEFAULT gen_random_uuid()
);

CREATE TABLE tasker_named_steps (
    named_step_uuid uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name varchar(128) NOT NULL UNIQUE
);

CREATE TABLE tasker_workflow_steps (
    workflow_step_uuid uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    task_uuid uuid NOT NULL REFERENCES tasker_tasks,
    named_step_uuid uuid NOT NULL REFERENCES tasker_named_steps
);
CREATE INDEX ON tasker_workflow_steps (task_uuid);

CREATE TABLE tasker_workflow_step_transitions (
    workflow_step_transition_uuid uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    workflow_step_uuid uuid NOT NULL REFERENCES tasker_workflow_steps,
    from_state varchar(255),
    to_state varchar(255) NOT NULL,
    metadata jsonb DEFAULT '{}',
    sort_key integer NOT NULL,
    most_recent boolean NOT NULL DEFAULT TRUE,
    created_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    updated_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    UNIQUE (workflow_step_uuid, sort_key)
);
CREATE UNIQUE INDEX ON tasker_workflow_step_transitions (workflow_step_uuid) WHERE most_recent;
