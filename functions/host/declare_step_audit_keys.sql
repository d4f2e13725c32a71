-- Declares the audit's three foreign keys to the engine's tables, enforced or not.
--
--     SELECT declare_step_audit_keys(p_enforce => FALSE);
--
-- p_enforce NULL: as it was recorded at the last attach, else not. Not enforced, a key is declared so
-- on 18 and absent before, as a check would lock the engine's rows and forbid its clean-up. Enforced,
-- it is added NOT VALID, so that writers need not wait; validate_step_audit_keys() checks what is there.
-- Partitioned transitions get no key: it would forbid to detach or drop a partition. Nor does a column
-- that the engine does not keep unique, as none can be declared; nor, unless enforced, a table that a
-- subscription fills, whose worker would stop at a TRUNCATE of the publisher's.
-- A part of attach_step_result_audit().

CREATE OR REPLACE FUNCTION declare_step_audit_keys(p_enforce boolean)
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_recorded boolean;
    v_key record;
    v_declared text[];
BEGIN
    SELECT bool_or(o.definition !~ 'NOT ENFORCED') INTO v_recorded
    FROM step_audit_objects AS o
    WHERE o.object_name ~ '^constraint tasker_workflow_step_result_audit[.]fk_audit_';

    FOR v_key IN
        WITH wanted AS (
            SELECT
                k.*,
                CASE
                    WHEN c.relkind = 'p' AND k.column_name = 'workflow_step_transition_uuid' THEN NULL
                    WHEN NOT is_unique_column(c.oid, k.column_name) THEN NULL
                    WHEN coalesce(p_enforce, v_recorded, FALSE) THEN ''
                    WHEN EXISTS (SELECT FROM pg_subscription_rel AS s WHERE s.srrelid = c.oid) THEN NULL
                    WHEN current_setting('server_version_num')::integer >= 180000 THEN ' NOT ENFORCED'
                END AS how,
                format('FOREIGN KEY (%s) REFERENCES %s(%1$s)', k.column_name, c.oid::regclass) AS definition
            FROM (
                VALUES
                ('fk_audit_task', 'task_uuid', 'tasker_tasks', 'An audit row names an existing task.'),
                ('fk_audit_step', 'workflow_step_uuid', 'tasker_workflow_steps', 'An audit row names an existing step.'),
                (
                    'fk_audit_transition', 'workflow_step_transition_uuid', 'tasker_workflow_step_transitions',
                    'An audit row names an existing transition.'
                )
            ) AS k (key_name, column_name, table_name, description)
            JOIN pg_class AS c ON c.oid = get_host_table(k.table_name)
        )

        SELECT
            w.*,
            c.oid IS NOT NULL AS is_there
        FROM wanted AS w
        LEFT JOIN pg_constraint AS c
            ON c.conrelid = 'tasker_workflow_step_result_audit'::regclass AND w.key_name = c.conname
        WHERE
            (c.oid IS NULL) <> (w.how IS NULL)
            OR replace(pg_get_constraintdef(c.oid), ' NOT VALID', '') <> w.definition || w.how
        ORDER BY w.key_name
    LOOP
        PERFORM lock_host_tables(p_exclusively => FALSE);
        DELETE FROM step_audit_objects AS o
        WHERE o.object_name = 'constraint tasker_workflow_step_result_audit.' || v_key.key_name;
        IF v_key.is_there THEN
            EXECUTE format('ALTER TABLE tasker_workflow_step_result_audit DROP CONSTRAINT %I', v_key.key_name);
        END IF;
        IF v_key.how IS NOT NULL THEN
            EXECUTE format(
                'ALTER TABLE tasker_workflow_step_result_audit ADD CONSTRAINT %I %s%s',
                v_key.key_name, v_key.definition, coalesce(nullif(v_key.how, ''), ' NOT VALID')
            );
            EXECUTE format(
                'COMMENT ON CONSTRAINT %I ON tasker_workflow_step_result_audit IS %L',
                v_key.key_name, v_key.description
            );
        END IF;
    END LOOP;

    -- A key that is not declared any more is not missed: after a dump of 18 has come to a server that
    -- cannot say NOT ENFORCED, for one.
    SELECT coalesce(array_agg('constraint tasker_workflow_step_result_audit.' || c.conname), '{}') INTO v_declared
    FROM pg_constraint AS c
    WHERE c.conrelid = 'tasker_workflow_step_result_audit'::regclass AND c.contype = 'f';
    DELETE FROM step_audit_objects AS o
    WHERE
        o.object_name ~ '^constraint tasker_workflow_step_result_audit[.]fk_audit_'
        AND o.object_name <> ALL(v_declared);
END;
$$;

COMMENT ON FUNCTION declare_step_audit_keys(boolean) IS
'Declares the audit''s three foreign keys to the engine''s tables, enforced or not.';
