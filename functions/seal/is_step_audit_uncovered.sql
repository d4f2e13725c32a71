-- Whether a seal has to look at a record: no seal before has covered its transaction.
--
--     SELECT count(*) FROM step_audit_changes WHERE is_step_audit_uncovered(recorded_xid, NULL);
--
-- p_covered: the snapshot of the last seal that reached all records, NULL where none has. A record of a
-- transaction that has not ended is invisible and so not asked for; the upper limit lets an index leave
-- them out. Without a SET clause, so that the planner inlines it; all that it calls is pg_catalog's.

CREATE OR REPLACE FUNCTION is_step_audit_uncovered(p_recorded_xid bigint, p_covered pg_snapshot)
RETURNS boolean
LANGUAGE sql
STABLE
PARALLEL SAFE
AS $$
    SELECT
        p_covered IS NULL
        OR (
            p_recorded_xid OPERATOR(pg_catalog.>=) pg_catalog.pg_snapshot_xmin(p_covered)::text::bigint
            AND p_recorded_xid
            OPERATOR(pg_catalog.<) pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint
            AND NOT pg_catalog.pg_visible_in_snapshot(p_recorded_xid::text::xid8, p_covered)
        );
$$;

COMMENT ON FUNCTION is_step_audit_uncovered(bigint, pg_snapshot) IS
'Whether a seal has to look at a record, as no seal before has covered its transaction.';
