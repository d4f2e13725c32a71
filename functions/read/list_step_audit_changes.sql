-- What was changed of worker results, newest change first, filtered and in pages.
--
--     SELECT operation, recorded_at, recorded_by, result FROM list_step_audit_changes(p_step_uuid => '0199f3a2-...');
--
-- A row is what stood in a transition before an UPDATE, DELETE or TRUNCATE; the version after it is in the
-- next change of the transition, or in step_audits. Where operation is insert, it is what came again
-- under the uuid of an audited result, as it came. workflow_step_result_audit_uuid and task_uuid are
-- those of its audit row; NULL where it has none, and p_task_uuid and p_step_uuid do not find it then.
-- A filter left NULL is not applied. recorded_at is UTC; p_recorded_from is included, p_recorded_until is
-- not, and a text without a zone is read there in the session's. p_recorded_by: the role that did it, as
-- it logged in. For the next page give the last row's step_audit_change_uuid as p_before_change_uuid; a full page
-- says by a notice that there may be one. p_limit NULL: all rows. Runs with the caller's rights.
--
-- What a page costs: without a filter and by p_recorded_from, the page. By transition, step or task, all
-- that they have; by p_recorded_until, all from p_recorded_from on. No index knows p_operation and
-- p_recorded_by: where few changes match, give another filter too.

CREATE OR REPLACE FUNCTION list_step_audit_changes(
    p_task_uuid uuid DEFAULT NULL,
    p_step_uuid uuid DEFAULT NULL,
    p_transition_uuid uuid DEFAULT NULL,
    p_operation text DEFAULT NULL,
    p_recorded_by text DEFAULT NULL,
    p_recorded_from timestamptz DEFAULT NULL,
    p_recorded_until timestamptz DEFAULT NULL,
    p_before_change_uuid uuid DEFAULT NULL,
    p_limit integer DEFAULT 100
)
RETURNS TABLE (
    step_audit_change_uuid uuid,
    operation text,
    recorded_at timestamp,
    recorded_by text,
    recorded_xid bigint,
    workflow_step_result_audit_uuid uuid,
    task_uuid uuid,
    workflow_step_uuid uuid,
    workflow_step_transition_uuid uuid,
    step_name text,
    from_state text,
    to_state text,
    sort_key bigint,
    transition_created_at timestamp,
    result json
)
LANGUAGE plpgsql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    v_rows bigint;
    v_in_order boolean := coalesce(p_transition_uuid, p_step_uuid, p_task_uuid) IS NULL AND p_recorded_until IS NULL;
BEGIN
    IF p_operation NOT IN ('update', 'delete', 'truncate', 'insert') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('an operation is update, delete, truncate or insert, not %s', p_operation);
    END IF;

    RETURN QUERY
    SELECT
        c.step_audit_change_uuid,
        c.operation,
        c.recorded_at,
        c.recorded_by,
        c.recorded_xid,
        a.workflow_step_result_audit_uuid,
        a.task_uuid,
        c.workflow_step_uuid,
        c.workflow_step_transition_uuid,
        CASE
            WHEN s.workflow_step_uuid IS NULL
                THEN
                    (
                        SELECT d.step_name
                        FROM step_audit_deleted_steps AS d
                        WHERE d.workflow_step_uuid = c.workflow_step_uuid AND d.step_name IS NOT NULL
                        ORDER BY d.recorded_at DESC, d.recorded_xid DESC
                        LIMIT 1
                    )
            ELSE n.name::text
        END,
        c.from_state,
        c.to_state,
        c.sort_key,
        c.transition_created_at,
        CASE
            WHEN c.metadata_json IS NOT NULL
                THEN get_step_result(c.metadata_json, c.workflow_step_transition_uuid)
            ELSE get_step_result(c.metadata, c.workflow_step_transition_uuid)
        END
    FROM step_audit_changes AS c
    LEFT JOIN tasker_workflow_step_result_audit AS a
        ON
            c.workflow_step_uuid = a.workflow_step_uuid
            AND c.workflow_step_transition_uuid = a.workflow_step_transition_uuid
    LEFT JOIN tasker_workflow_steps AS s ON c.workflow_step_uuid = s.workflow_step_uuid
    LEFT JOIN tasker_named_steps AS n ON s.named_step_uuid = n.named_step_uuid
    WHERE
        (p_task_uuid IS NULL OR a.task_uuid = p_task_uuid)
        AND (p_step_uuid IS NULL OR a.workflow_step_uuid = p_step_uuid)
        AND (p_transition_uuid IS NULL OR c.workflow_step_transition_uuid = p_transition_uuid)
        AND (p_operation IS NULL OR c.operation = p_operation)
        AND (p_recorded_by IS NULL OR c.recorded_by = p_recorded_by)
        AND (p_recorded_from IS NULL OR c.recorded_at >= p_recorded_from AT TIME ZONE 'UTC')
        AND (p_recorded_until IS NULL OR c.recorded_at < p_recorded_until AT TIME ZONE 'UTC')
        AND (p_before_change_uuid IS NULL OR c.step_audit_change_uuid < p_before_change_uuid)
    ORDER BY
        -- No index has this order, so that one is taken which finds the changes.
        CASE WHEN v_in_order THEN NULL ELSE uuid_send(c.step_audit_change_uuid) END DESC,
        c.step_audit_change_uuid DESC
    LIMIT p_limit;

    GET DIAGNOSTICS v_rows = ROW_COUNT;
    IF v_rows = p_limit AND v_rows > 0 THEN
        RAISE NOTICE USING
            MESSAGE = format('this page is full with %s rows, so there may be more', v_rows),
            HINT = 'Ask for the next page by its last row, see p_before_change_uuid; or for all rows by p_limit => NULL.';
    END IF;
END;
$$;

COMMENT ON FUNCTION list_step_audit_changes(
    uuid, uuid, uuid, text, text, timestamptz, timestamptz, uuid, integer
) IS
'What was changed of worker results: each version before, newest change first, filtered and in pages.';
