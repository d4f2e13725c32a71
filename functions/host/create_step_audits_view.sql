-- Creates the view step_audits: each audited result with what the engine's tables hold about it.
--
--     SELECT create_step_audits_view();
--
-- Its columns are those of the type step_audit. It runs with the rights of whoever reads it, and reads
-- the full result only where that is asked for. What the engine has changed away or deleted is shown as
-- its last change row has it; change rows are not looked at for a transition that stands, but to count
-- them. A part of attach_step_result_audit().
-- The query is written with the casts and defaults that the server adds when it prints a view, as
-- step-audit verify compares the two.

CREATE OR REPLACE FUNCTION create_step_audits_view()
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_class AS c
        WHERE c.relname = 'step_audits' AND c.relnamespace = quote_ident(current_schema())::regnamespace
    ) THEN
        RETURN;
    END IF;
    DELETE FROM step_audit_objects AS o WHERE o.object_name = 'view step_audits';
    CREATE VIEW step_audits WITH (security_invoker = TRUE) AS
    SELECT
        a.workflow_step_result_audit_uuid,
        a.workflow_step_uuid,
        a.workflow_step_transition_uuid,
        a.task_uuid,
        a.recorded_at,
        a.worker_uuid,
        a.correlation_id,
        a.success,
        a.backfilled,
        a.recorded_by,
        a.execution_time_ms,
        a.created_at,
        a.updated_at,
        CASE
            WHEN
                isfinite(coalesce(get_utc_time(t.created_at), gone.transition_created_at))
                AND isfinite(get_utc_time(started.created_at))
                THEN
                    round(
                        extract(
                            EPOCH FROM coalesce(get_utc_time(t.created_at), gone.transition_created_at)
                            - get_utc_time(started.created_at)
                        ) * 1000::numeric
                    )::bigint
            ELSE NULL::bigint
        END AS elapsed_ms,
        CASE
            WHEN s.workflow_step_uuid IS NULL
                THEN
                    (
                        SELECT d.step_name
                        FROM step_audit_deleted_steps AS d
                        WHERE d.workflow_step_uuid = a.workflow_step_uuid AND d.step_name IS NOT NULL
                        ORDER BY d.recorded_at DESC, d.recorded_xid DESC
                        LIMIT 1
                    )
            ELSE n.name::text
        END AS step_name,
        coalesce(t.from_state::text, gone.from_state) AS from_state,
        coalesce(t.to_state::text, gone.to_state) AS to_state,
        coalesce(t.sort_key::bigint, gone.sort_key) AS sort_key,
        CASE
            WHEN t.workflow_step_transition_uuid IS NOT NULL
                THEN get_step_result(t.metadata, t.workflow_step_transition_uuid)
            WHEN gone.metadata_json IS NOT NULL
                THEN get_step_result(gone.metadata_json, a.workflow_step_transition_uuid)
            ELSE get_step_result(gone.metadata, a.workflow_step_transition_uuid)
        END AS result,
        (
            SELECT count(*) AS count
            FROM step_audit_changes AS v
            WHERE
                v.workflow_step_transition_uuid = a.workflow_step_transition_uuid
                AND v.workflow_step_uuid = a.workflow_step_uuid
                AND v.operation <> 'insert'::text
        ) AS changes,
        t.workflow_step_transition_uuid IS NULL AND gone.to_state IS NOT NULL AS deleted
    FROM tasker_workflow_step_result_audit AS a
    LEFT JOIN tasker_workflow_steps AS s ON a.workflow_step_uuid = s.workflow_step_uuid
    LEFT JOIN tasker_named_steps AS n ON s.named_step_uuid = n.named_step_uuid
    LEFT JOIN tasker_workflow_step_transitions AS t
        ON
            a.workflow_step_transition_uuid = t.workflow_step_transition_uuid
            AND a.workflow_step_uuid = t.workflow_step_uuid
    LEFT JOIN LATERAL (
        SELECT
            c.from_state,
            c.to_state,
            c.sort_key,
            c.transition_created_at,
            c.metadata,
            c.metadata_json
        FROM step_audit_changes AS c
        WHERE
            t.workflow_step_transition_uuid IS NULL
            AND c.workflow_step_transition_uuid = a.workflow_step_transition_uuid
            AND c.workflow_step_uuid = a.workflow_step_uuid
        ORDER BY c.step_audit_change_uuid DESC
        LIMIT 1
    ) AS gone ON TRUE
    LEFT JOIN LATERAL (
        -- A result follows its start at once. Looking a little further is kind to odd engines;
        -- looking all the way would cost a step with many results and no start their square.
        SELECT before.created_at
        FROM (
            SELECT
                p.created_at,
                p.to_state,
                p.sort_key
            FROM tasker_workflow_step_transitions AS p
            WHERE
                p.workflow_step_uuid = a.workflow_step_uuid
                AND p.sort_key < coalesce(t.sort_key::bigint, gone.sort_key)
            ORDER BY p.sort_key DESC
            LIMIT 10
        ) AS before
        WHERE before.to_state::text = 'in_progress'::text
        ORDER BY before.sort_key DESC
        LIMIT 1
    ) AS started ON TRUE;
    COMMENT ON VIEW step_audits IS
    'Audited results, each with its step''s name, the states, the elapsed time and the full result, deleted or not.';
END;
$$;

COMMENT ON FUNCTION create_step_audits_view() IS
'Creates the view step_audits: each audited result with what the engine''s tables hold, or held, about it.';
