-- What this release has besides tables and functions, and how the server describes it.
--
--     SELECT kind, object_name, definition FROM list_step_audit_objects();
--
-- kind: trigger, constraint, index, or default (of a column). attach_step_result_audit() creates the
-- guards, the trigger and the foreign keys from here; verify_step_audit_objects() compares all.

CREATE OR REPLACE FUNCTION list_step_audit_objects()
RETURNS TABLE (
    kind text,
    table_name text,
    object_name text,
    definition text,
    description text
)
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
    WITH append_only (table_name) AS (
        VALUES
        ('tasker_workflow_step_result_audit'),
        ('tasker_workflow_step_result_audit_anomalies'),
        ('step_audit_leaves'),
        ('step_audit_subtrees'),
        ('step_audit_seals')
    ),

    others (kind, table_name, object_name, definition, description) AS (
        VALUES
        (
            'trigger', 'tasker_workflow_step_transitions', 'trg_step_result_audit',
            'CREATE TRIGGER trg_step_result_audit AFTER INSERT ON tasker_workflow_step_transitions '
            'FOR EACH ROW EXECUTE FUNCTION create_step_result_audit()',
            'step-audit: writes the audit row of each worker result.'
        ),
        (
            'constraint', 'tasker_workflow_step_result_audit', 'fk_audit_task',
            'FOREIGN KEY (task_uuid) REFERENCES tasker_tasks(task_uuid)',
            'An audit row names an existing task.'
        ),
        (
            'constraint', 'tasker_workflow_step_result_audit', 'fk_audit_step',
            'FOREIGN KEY (workflow_step_uuid) REFERENCES tasker_workflow_steps(workflow_step_uuid)',
            'An audit row names an existing step.'
        ),
        (
            'constraint', 'tasker_workflow_step_result_audit', 'fk_audit_transition',
            'FOREIGN KEY (workflow_step_transition_uuid) '
            'REFERENCES tasker_workflow_step_transitions(workflow_step_transition_uuid)',
            'An audit row names an existing transition.'
        ),
        (
            'constraint', 'tasker_workflow_step_result_audit', 'pk_audit',
            'PRIMARY KEY (workflow_step_result_audit_uuid)', NULL
        ),
        (
            'constraint', 'tasker_workflow_step_result_audit', 'uq_audit_step_transition',
            'UNIQUE (workflow_step_transition_uuid, workflow_step_uuid)', NULL
        ),
        (
            'constraint', 'tasker_workflow_step_result_audit_anomalies', 'pk_audit_anomaly',
            'PRIMARY KEY (workflow_step_result_audit_uuid, field)', NULL
        ),
        (
            'constraint', 'tasker_workflow_step_result_audit_anomalies', 'fk_audit_anomaly_audit',
            'FOREIGN KEY (workflow_step_result_audit_uuid) '
            'REFERENCES tasker_workflow_step_result_audit(workflow_step_result_audit_uuid)', NULL
        ),
        (
            'constraint', 'step_audit_leaves', 'pk_step_audit_leaf',
            'PRIMARY KEY (leaf_index)', NULL
        ),
        (
            'constraint', 'step_audit_leaves', 'uq_step_audit_leaf_audit',
            'UNIQUE (workflow_step_result_audit_uuid)', NULL
        ),
        (
            'constraint', 'step_audit_subtrees', 'pk_step_audit_subtree',
            'PRIMARY KEY (height, subtree_index)', NULL
        ),
        (
            'constraint', 'step_audit_seals', 'pk_step_audit_seal',
            'PRIMARY KEY (tree_size)', NULL
        ),
        (
            'index', 'tasker_workflow_step_result_audit', 'idx_audit_step_uuid',
            'CREATE INDEX idx_audit_step_uuid ON tasker_workflow_step_result_audit '
            'USING btree (workflow_step_uuid)', NULL
        ),
        (
            'index', 'tasker_workflow_step_result_audit', 'idx_audit_task_uuid',
            'CREATE INDEX idx_audit_task_uuid ON tasker_workflow_step_result_audit '
            'USING btree (task_uuid)', NULL
        ),
        (
            'index', 'tasker_workflow_step_result_audit', 'idx_audit_recorded_at',
            'CREATE INDEX idx_audit_recorded_at ON tasker_workflow_step_result_audit '
            'USING btree (recorded_at)', NULL
        ),
        (
            'index', 'tasker_workflow_step_result_audit', 'idx_audit_failures',
            'CREATE INDEX idx_audit_failures ON tasker_workflow_step_result_audit '
            'USING btree (recorded_at) WHERE NOT success', NULL
        ),
        (
            'index', 'tasker_workflow_step_result_audit', 'idx_audit_worker_uuid',
            'CREATE INDEX idx_audit_worker_uuid ON tasker_workflow_step_result_audit '
            'USING btree (worker_uuid) WHERE worker_uuid IS NOT NULL', NULL
        ),
        (
            'index', 'tasker_workflow_step_result_audit', 'idx_audit_correlation_id',
            'CREATE INDEX idx_audit_correlation_id ON tasker_workflow_step_result_audit '
            'USING btree (correlation_id) WHERE correlation_id IS NOT NULL', NULL
        ),
        (
            'index', 'tasker_workflow_step_result_audit', 'idx_audit_recorded_xid',
            'CREATE INDEX idx_audit_recorded_xid ON tasker_workflow_step_result_audit '
            'USING brin (recorded_xid) WITH (pages_per_range=''32'', autosummarize=''on'')', NULL
        ),
        (
            'default', 'tasker_workflow_step_result_audit', 'recorded_at',
            '(now() AT TIME ZONE ''UTC''::text)', NULL
        ),
        (
            'default', 'tasker_workflow_step_result_audit', 'backfilled',
            'false', NULL
        ),
        (
            'default', 'tasker_workflow_step_result_audit', 'created_at',
            '(now() AT TIME ZONE ''UTC''::text)', NULL
        ),
        (
            'default', 'tasker_workflow_step_result_audit', 'updated_at',
            '(now() AT TIME ZONE ''UTC''::text)', NULL
        ),
        (
            'default', 'tasker_workflow_step_result_audit', 'recorded_xid',
            '((pg_current_xact_id())::text)::bigint', NULL
        ),
        (
            'default', 'step_audit_seals', 'sealed_at',
            '(now() AT TIME ZONE ''UTC''::text)', NULL
        )
    )

    SELECT
        'trigger',
        g.table_name,
        'trg_append_only',
        'CREATE TRIGGER trg_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON ' || g.table_name
        || ' FOR EACH STATEMENT EXECUTE FUNCTION reject_audit_change()',
        'step-audit: refuses to change what was recorded.'
    FROM append_only AS g
    UNION ALL
    SELECT
        o.kind,
        o.table_name,
        o.object_name,
        o.definition,
        o.description
    FROM others AS o;
$$;

COMMENT ON FUNCTION list_step_audit_objects() IS
'What this release has besides tables and functions: triggers, constraints, indexes, defaults.';
