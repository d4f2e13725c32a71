-- Notes what has been applied, so that the next install knows what there is left to do.
--
--     SELECT record_step_audit_install('1.2.3', '{"functions/is_worker_result.sql": "9f86d0..."}');
--
-- p_files: path and SHA-256 of each file of the release. The last call of each install script.

CREATE OR REPLACE FUNCTION record_step_audit_install(p_release text, p_files jsonb)
RETURNS void
LANGUAGE sql
VOLATILE
SET search_path FROM CURRENT
AS $$
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
$$;

COMMENT ON FUNCTION record_step_audit_install(text, jsonb) IS
'Notes the release and the files that an install has applied.';
