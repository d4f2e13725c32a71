-- One statement, for tools that run migrations: in their transaction or in one of its own. What it sets
-- is put back at its end, so that what the tool runs next finds the session as it was.
DO $step_audit$
DECLARE
    v_before pg_catalog.json := pg_catalog.json_build_object(
        'role', pg_catalog.current_setting('role'),
        'search_path', pg_catalog.current_setting('search_path'),
        'lock_timeout', pg_catalog.current_setting('lock_timeout'),
        'check_function_bodies', pg_catalog.current_setting('check_function_bodies'),
        'quote_all_identifiers', pg_catalog.current_setting('quote_all_identifiers')
    );
BEGIN
    EXECUTE '<parts>';
    PERFORM pg_catalog.set_config(s.key, s.value, TRUE) FROM pg_catalog.json_each_text(v_before) AS s;
END;
$step_audit$;
