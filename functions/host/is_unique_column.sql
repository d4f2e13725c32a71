-- Whether a column is kept unique, so that a foreign key may point to it.
--
--     SELECT is_unique_column('tasker_tasks', 'task_uuid');

CREATE OR REPLACE FUNCTION is_unique_column(p_table regclass, p_column text)
RETURNS boolean
LANGUAGE sql
STABLE
PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
    SELECT EXISTS (
        SELECT FROM pg_index AS i
        JOIN pg_attribute AS a ON i.indrelid = a.attrelid AND i.indkey[0] = a.attnum
        WHERE
            i.indrelid = p_table
            AND a.attname = p_column
            AND i.indnkeyatts = 1
            AND i.indisunique
            AND i.indimmediate
            AND i.indisvalid
            AND i.indpred IS NULL
    );
$$;

COMMENT ON FUNCTION is_unique_column(regclass, text) IS
'Whether a column is kept unique, so that a foreign key may point to it.';
