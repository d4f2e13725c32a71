-- What an earlier run of the script has applied, so that it may run again; the schema has been entered.
-- What stands between < and > is filled in.
DO $applied$
DECLARE
    v_schema text := current_schema();
    v_files regclass := to_regclass(format('%I.step_audit_files', v_schema));
    v_extension text;
    v_applied text;
    v_newest text;
BEGIN
    PERFORM set_config('step_audit.applied', '{}', TRUE);
    IF v_files IS NULL THEN
        RETURN;
    END IF;
    SELECT e.extname INTO v_extension
    FROM pg_depend AS d
    JOIN pg_extension AS e ON d.refobjid = e.oid
    WHERE d.classid = 'pg_class'::regclass AND d.objid = v_files AND d.deptype = 'e';
    IF FOUND THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = format('in schema %s step-audit is the extension %s', v_schema, v_extension),
            HINT = format('Use ALTER EXTENSION %s UPDATE.', v_extension);
    END IF;
    EXECUTE format(
        'SELECT json_object_agg(f.path, f.sha256)::text, (max(string_to_array(f.release, ''.'')::integer[]))::text FROM %s AS f',
        v_files
    ) INTO v_applied, v_newest;
    IF v_newest::integer[] > string_to_array('<release>', '.')::integer[] THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = format(
                'the database has step-audit %s, this script is of <release>',
                array_to_string(v_newest::integer[], '.')
            ),
            HINT = 'Print the script by a step-audit as new: pip install --upgrade step-audit.';
    END IF;
    PERFORM set_config('step_audit.applied', coalesce(v_applied, '{}'), TRUE);
END;
$applied$;
