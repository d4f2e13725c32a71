-- The functions of step-audit as they are in the schema now, by file, with a hash of what they do.
--
--     SELECT path, definition_sha256 FROM list_step_audit_functions();
--
-- path: the file that they came from, which holds all functions of one name. The hash covers all that
-- CREATE FUNCTION sets, in words that do not depend on the schema's name, the session or the server's
-- version.

CREATE OR REPLACE FUNCTION list_step_audit_functions()
RETURNS TABLE (
    path text,
    definition_sha256 text
)
LANGUAGE sql
STABLE
PARALLEL UNSAFE
SET search_path FROM CURRENT
SET intervalstyle = postgres
AS $$
    SELECT
        f.path,
        encode(
            sha256(
                convert_to(
                    json_agg(
                        json_build_array(
                            p.prokind,
                            l.lanname,
                            pg_get_function_arguments(p.oid),
                            pg_get_function_result(p.oid),
                            p.prosrc,
                            pg_get_function_sqlbody(p.oid),
                            p.provolatile,
                            p.proparallel,
                            p.prosecdef,
                            p.proisstrict,
                            p.proleakproof,
                            array_replace(
                                p.proconfig,
                                format('search_path=%s, pg_temp', quote_ident(current_schema())),
                                'search_path=here'
                            )
                        )
                        ORDER BY pg_get_function_identity_arguments(p.oid) COLLATE "C"
                    )::text,
                    'UTF8'
                )
            ),
            'hex'
        )
    FROM step_audit_files AS f
    JOIN pg_proc AS p ON p.proname = substring(f.path, '^functions/.*/(.*)[.]sql$')
    JOIN pg_language AS l ON p.prolang = l.oid
    WHERE
        p.pronamespace = quote_ident(current_schema())::regnamespace
        AND obj_description(p.oid, 'pg_proc') IS NOT NULL
    GROUP BY f.path;
$$;

COMMENT ON FUNCTION list_step_audit_functions() IS
'The functions of step-audit as they are in the schema now, by file, with a hash of their definitions.';
