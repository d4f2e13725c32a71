-- Notes what has been applied, so that the next install knows what there is left to do.
--
--     SELECT record_step_audit_install('1.2.3', '{"functions/record/is_worker_result.sql": "9f86d0..."}');
--
-- p_files: path and SHA-256 of each file of the release. Called by each install script after its files.

CREATE OR REPLACE FUNCTION record_step_audit_install(p_release text, p_files jsonb)
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_stranger text;
BEGIN
    DELETE FROM step_audit_files AS f
    WHERE NOT p_files ? f.path;

    INSERT INTO step_audit_files AS f (path, sha256, release)
    SELECT
        file.path,
        file.sha256,
        p_release
    FROM jsonb_each_text(p_files) AS file (path, sha256)
    ON CONFLICT (path) DO UPDATE SET
        sha256 = excluded.sha256,
        release = excluded.release,
        applied_at = CASE WHEN f.sha256 = excluded.sha256 THEN f.applied_at ELSE excluded.applied_at END;

    -- CREATE OR REPLACE leaves a function to whom it belonged: anybody else could change what the
    -- trigger runs with our rights. A superuser can change it anyway.
    SELECT o.object_name INTO v_stranger
    FROM list_step_audit_owners() AS o
    JOIN pg_roles AS r ON o.owner_name = r.rolname
    WHERE o.owner_name <> current_user AND NOT r.rolsuper
    LIMIT 1;
    IF FOUND THEN
        RAISE insufficient_privilege USING
            MESSAGE = format('%s belongs to another role', v_stranger),
            HINT = 'Install beside it, into a schema of step-audit''s own: --schema step_audit.';
    END IF;

    -- But for what is not in the catalog while step-audit is detached or uninstalled.
    DELETE FROM step_audit_objects AS o
    WHERE o.object_name !~ '^constraint tasker_workflow_step_result_audit[.]fk_';
    PERFORM record_step_audit_objects();
END;
$$;

COMMENT ON FUNCTION record_step_audit_install(text, jsonb) IS
'Notes the release and the files that an install has applied, and what the catalog says of them.';
