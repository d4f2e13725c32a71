"""What keeps the trigger from firing, though it is there and enabled."""

from __future__ import annotations

from collections.abc import Iterator

from step_audit.database import Connection
from step_audit.setup.sources import Sources
from step_audit.trust.verify.report import Finding
from step_audit.trust.verify.tables import AUDIT, TRANSITIONS, Place

# Of roles, only those that may write results matter.
_SETTINGS = """
SELECT
    CASE
        WHEN r.oid IS NULL
            THEN 'database ' || coalesce(d.datname, pg_catalog.current_database())
        WHEN d.oid IS NULL THEN 'role ' || r.rolname
        ELSE 'role ' || r.rolname || ' in database ' || d.datname
    END AS whose
FROM pg_catalog.pg_db_role_setting AS s
LEFT JOIN pg_catalog.pg_roles AS r ON s.setrole = r.oid
LEFT JOIN pg_catalog.pg_database AS d ON s.setdatabase = d.oid
WHERE
    'session_replication_role=replica' = ANY(
        pg_catalog.lower(s.setconfig::pg_catalog.text)::pg_catalog.text[]
    )
    AND (d.oid IS NULL OR d.datname = pg_catalog.current_database())
    AND (r.oid IS NULL OR pg_catalog.has_any_column_privilege(r.oid, %s::pg_catalog.oid, 'INSERT'))
UNION ALL
SELECT 'the whole server'
FROM pg_catalog.pg_settings AS s
WHERE
    s.name = 'session_replication_role'
    AND s.setting = 'replica'
    AND s.source IN ('configuration file', 'command line', 'environment variable')
ORDER BY 1
"""

_SUBSCRIPTIONS = """
SELECT DISTINCT u.subname AS name
FROM pg_catalog.pg_subscription_rel AS s
JOIN pg_catalog.pg_subscription AS u ON s.srsubid = u.oid
WHERE
    (
        s.srrelid = %(transitions)s::pg_catalog.oid
        OR s.srrelid IN (
            SELECT p.relid FROM pg_catalog.pg_partition_tree(%(transitions)s::pg_catalog.oid) AS p
        )
    )
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_subscription_rel AS a
        WHERE a.srrelid = %(audit)s::pg_catalog.oid
    )
ORDER BY 1
"""


def examine_surroundings(
    conn: Connection, place: Place, sources: Sources
) -> Iterator[Finding | str | int]:
    """No setting of a role or database silences the trigger; a subscription's rows are told of."""
    transitions = place[TRANSITIONS].oid
    for row in conn.execute(_SETTINGS, (transitions,)):
        field = f"setting session_replication_role of {row['whose']}"
        yield Finding("foreign object", field=field, stored="replica")
    for row in conn.execute(
        _SUBSCRIPTIONS, {"transitions": transitions, "audit": place[AUDIT].oid}
    ):
        yield (
            f"rows that subscription {row['name']} applies fire no trigger of step-audit, and are "
            "missing until step-audit backfill; or audit at the publisher"
        )
