"""Who may write the evidence, or act with the rights of those who may."""

from __future__ import annotations

from collections.abc import Iterator

from step_audit.database import Connection
from step_audit.setup.sources import Sources
from step_audit.trust.verify.report import Finding
from step_audit.trust.verify.tables import FILES, OWN, Place

Examined = Iterator[Finding | str | int]

_RIGHTS = """
SELECT
    r.right_name,
    c.relname AS name,
    coalesce(o.rolname, 'PUBLIC') AS role_name
FROM pg_catalog.pg_class AS c
CROSS JOIN LATERAL (
    SELECT a.grantee, a.privilege_type AS right_name FROM pg_catalog.aclexplode(c.relacl) AS a
    UNION ALL
    SELECT a.grantee, pg_catalog.format('%%s (%%I)', a.privilege_type, l.attname)
    FROM pg_catalog.pg_attribute AS l, pg_catalog.aclexplode(l.attacl) AS a
    WHERE l.attrelid = c.oid
) AS r
LEFT JOIN pg_catalog.pg_roles AS o ON r.grantee = o.oid
WHERE c.oid = ANY(%s) AND r.grantee <> c.relowner AND r.right_name !~ '^SELECT'
ORDER BY 2, 3, 1
"""

_EXECUTE = """
SELECT p.proname AS name, coalesce(o.rolname, 'PUBLIC') AS role_name
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_namespace AS n ON p.pronamespace = n.oid
CROSS JOIN pg_catalog.aclexplode(coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) AS a
LEFT JOIN pg_catalog.pg_roles AS o ON a.grantee = o.oid
WHERE
    n.nspname = %s
    AND p.prosecdef
    AND p.proname = ANY(%s)
    AND a.grantee <> p.proowner
    AND (
        a.grantee = 0::pg_catalog.oid
        OR p.prorettype = 'pg_catalog.trigger'::pg_catalog.regtype
    )
ORDER BY 1, 2
"""


# In a schema of its own nobody else creates what our functions could call.
_CREATE = """
SELECT coalesce(o.rolname, 'PUBLIC') AS role_name
FROM pg_catalog.pg_namespace AS n
JOIN pg_catalog.pg_class AS c ON c.oid = %s AND n.nspowner = c.relowner
CROSS JOIN pg_catalog.aclexplode(n.nspacl) AS a
LEFT JOIN pg_catalog.pg_roles AS o ON a.grantee = o.oid
WHERE n.nspname = %s AND a.privilege_type = 'CREATE' AND a.grantee <> n.nspowner
ORDER BY 1
"""


# Who owns a schema may drop what others have in it. That of the public schema is, by a role of the
# server's own, who owns the database.
_OWNS_SCHEMA = """
SELECT r.rolname AS role_name, t.rolname AS owner_name
FROM pg_catalog.pg_namespace AS n
JOIN pg_catalog.pg_roles AS o ON n.nspowner = o.oid
JOIN pg_catalog.pg_database AS d ON d.datname = pg_catalog.current_database()
JOIN pg_catalog.pg_roles AS r
    ON r.oid = CASE o.rolname WHEN 'pg_database_owner' THEN d.datdba ELSE n.nspowner END
JOIN pg_catalog.pg_class AS c ON c.oid = %s
JOIN pg_catalog.pg_roles AS t ON c.relowner = t.oid
WHERE n.nspname = %s AND NOT r.rolsuper AND r.oid <> t.oid
"""

# Under session_replication_role = replica the trigger on the transitions does not fire.
_PARAMETER = """
SELECT coalesce(o.rolname, 'PUBLIC') AS role_name
FROM pg_catalog.pg_parameter_acl AS p
CROSS JOIN pg_catalog.aclexplode(p.paracl) AS a
LEFT JOIN pg_catalog.pg_roles AS o ON a.grantee = o.oid
WHERE
    p.parname = 'session_replication_role'
    AND a.privilege_type = 'SET'
    AND o.rolsuper IS NOT TRUE
ORDER BY 1
"""

# Members are often there on purpose; a superuser needs no membership.
_MEMBERS = """
SELECT m.rolname AS role_name, g.rolname AS group_name
FROM pg_catalog.pg_roles AS g
JOIN pg_catalog.pg_roles AS m
    ON g.oid <> m.oid AND pg_catalog.pg_has_role(m.oid, g.oid, 'MEMBER')
JOIN pg_catalog.pg_class AS c ON c.oid = %s
WHERE
    NOT m.rolsuper
    AND m.rolname !~ '^pg_'
    AND m.rolname <> SESSION_USER
    AND (
        (g.oid = c.relowner AND NOT g.rolsuper)
        OR g.rolname IN ('pg_write_all_data', 'pg_execute_server_program', 'pg_write_server_files')
    )
ORDER BY 2, 1
"""


def examine_rights(conn: Connection, place: Place, sources: Sources) -> Examined:
    """Nobody but the owner may write our tables, or run what writes them with his rights.

    Who may become the owner, or write all that there is, is told.
    """
    own = [place[name].oid for name in OWN]
    for row in conn.execute(_RIGHTS, (own,)):
        field = f"right {row['right_name']} on {row['name']} of {row['role_name']}"
        yield Finding("foreign object", field=field, stored="granted")
    for row in conn.execute(_EXECUTE, (place.schema, [file.name for file in sources.functions])):
        field = f"right EXECUTE on {row['name']} of {row['role_name']}"
        yield Finding("foreign object", field=field, stored="granted")
    if place.schema != place.host_schema:
        for row in conn.execute(_CREATE, (place[FILES].oid, place.schema)):
            field = f"right CREATE on schema {place.schema} of {row['role_name']}"
            yield Finding("foreign object", field=field, stored="granted")
    for row in conn.execute(_OWNS_SCHEMA, (place[FILES].oid, place.schema)):
        yield (
            f"role {row['role_name']} owns schema {place.schema}, and so may drop the tables of "
            f"{row['owner_name']} in it"
        )
    for row in conn.execute(_PARAMETER):
        field = f"right SET on session_replication_role of {row['role_name']}"
        yield Finding("foreign object", field=field, stored="granted")
    for row in conn.execute(_MEMBERS, (place[FILES].oid,)):
        yield (
            f"role {row['role_name']} is a member of {row['group_name']}, and so may change what "
            "is recorded, once it has taken the guards away"
        )
