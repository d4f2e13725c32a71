-- Notes what has been applied, so that the next install knows what there is left to do.
--
--     SELECT record_step_audit_install('1.2.3', '{"functions/record/is_worker_result.sql": "9f86d0..."}');
--
-- p_files: path and SHA-256 of each file of the release. The last call of each install script.

CREATE OR REPLACE FUNCTION record_step_audit_install(p_release text, p_files jsonb)
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE
    v_stranger text;
BEGIN
    -- CREATE OR REPLACE leaves a function to whom it belonged. Ours belong to whoever owns our tables,
    -- to us, or to a superuser: anybody else could change what the trigger runs with our rights.
    SELECT p.oid::regprocedure::text INTO v_stranger
    FROM jsonb_object_keys(p_files) AS file (path)
    JOIN pg_proc AS p ON p.proname = substring(file.path, '^functions/.*/(.*)[.]sql$')
    JOIN pg_roles AS r ON p.proowner = r.oid
    WHERE
        p.pronamespace = quote_ident(current_schema())::regnamespace
        AND NOT (
            r.rolsuper
            OR r.rolname = current_user
            OR r.oid = (SELECT c.relowner FROM pg_class AS c WHERE c.oid = 'step_audit_files'::regclass)
        )
    LIMIT 1;
    IF FOUND THEN
        RAISE insufficient_privilege USING
            MESSAGE = format('function %s belongs to another role', v_stranger),
            HINT = 'Drop it, then install again.';
    END IF;

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
        definition_sha256 = NULL,
        release = excluded.release,
        applied_at = CASE WHEN f.sha256 = excluded.sha256 THEN f.applied_at ELSE excluded.applied_at END;

    UPDATE step_audit_files AS f
    SET definition_sha256 = p.definition_sha256
    FROM list_step_audit_functions() AS p
    WHERE f.path = p.path;
END;
$$;

COMMENT ON FUNCTION record_step_audit_install(text, jsonb) IS
'Notes the release and the files that an install has applied.';
