-- The UPDATE of the engine's step that its worker makes with a transition: as SQL, $1 the step, $2 the
-- result as JSON text.
--
--     SELECT get_workflow_step_update('in_progress');
--
-- A worker that starts a step sets in_process, last_attempted_at and one more of attempts; one that
-- reports a result sets in_process and results, where the steps that depend on it find their input.
-- Only columns that the engine's table has, with a type that can hold it. NULL where there is nothing to
-- set. It is run by transition_workflow_step(), whose search_path the engine's triggers need.

CREATE OR REPLACE FUNCTION get_workflow_step_update(p_to_state text)
RETURNS text
LANGUAGE sql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
AS $$
    SELECT format(
        'UPDATE %s AS s SET %s WHERE s.workflow_step_uuid = $1',
        get_host_table('tasker_workflow_steps'),
        string_agg(format('%I = %s', w.column_name, w.new_value), ', ' ORDER BY w.column_name)
    )
    FROM (
        VALUES
        ('in_progress', 'in_process', 'boolean'::regtype, 'TRUE'),
        ('in_progress', 'attempts', 'smallint', 'coalesce(s.attempts, 0) + 1'),
        ('in_progress', 'attempts', 'integer', 'coalesce(s.attempts, 0) + 1'),
        ('in_progress', 'attempts', 'bigint', 'coalesce(s.attempts, 0) + 1'),
        ('in_progress', 'last_attempted_at', 'timestamp', 'now() AT TIME ZONE ''UTC'''),
        ('in_progress', 'last_attempted_at', 'timestamptz', 'now()'),
        ('in_progress', 'updated_at', 'timestamp', 'now() AT TIME ZONE ''UTC'''),
        ('in_progress', 'updated_at', 'timestamptz', 'now()'),
        ('result', 'in_process', 'boolean', 'FALSE'),
        ('result', 'results', 'jsonb', '$2::jsonb'),
        ('result', 'results', 'json', '$2::json'),
        ('result', 'updated_at', 'timestamp', 'now() AT TIME ZONE ''UTC'''),
        ('result', 'updated_at', 'timestamptz', 'now()')
    ) AS w (moment, column_name, column_type, new_value)
    JOIN pg_attribute AS a
        ON
            a.attrelid = get_host_table('tasker_workflow_steps')
            AND a.attname = w.column_name
            AND a.atttypid = w.column_type
            AND a.attgenerated = ''
    WHERE w.moment = CASE WHEN is_worker_result(p_to_state) THEN 'result' ELSE p_to_state END
    HAVING count(*) > 0;
$$;

COMMENT ON FUNCTION get_workflow_step_update(text) IS
'The UPDATE of the engine''s step that its worker makes with a transition, as SQL.';
