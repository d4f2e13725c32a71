DO $migration$
DECLARE
    v_applied text := current_setting('step_audit.applied')::json ->> '<path>';
BEGIN
    IF v_applied IS NULL THEN
        EXECUTE '<text>';
    ELSIF v_applied <> '<sha256>' THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = '<path> was applied in another form than this release has',
            HINT = 'Install a released step-audit, whose migrations never change.';
    END IF;
END;
$migration$;
