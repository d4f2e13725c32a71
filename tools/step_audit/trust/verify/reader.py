"""Who reads: not with power that an owner's code could take, and with the rights to see all."""

from __future__ import annotations

from psycopg import sql

from step_audit.database import Connection
from step_audit.errors import RefusedError
from step_audit.trust.verify.planned import list_planned
from step_audit.trust.verify.tables import HOST, OWN, Place

_READ_ALL = "pg_read_all_data"

WHO = """
SELECT
    CURRENT_USER::pg_catalog.text AS role_name,
    CURRENT_USER = SESSION_USER AS is_login,
    r.rolsuper AS is_superuser,
    -- Code that runs in this session can become whoever the session may become.
    (
        SELECT s.rolname::pg_catalog.text
        FROM pg_catalog.pg_roles AS s
        WHERE
            (s.rolsuper OR s.rolname IN ('pg_execute_server_program', 'pg_write_server_files'))
            AND pg_catalog.pg_has_role(SESSION_USER, s.oid, 'MEMBER')
        ORDER BY s.rolname <> SESSION_USER, 1
        LIMIT 1
    ) AS powerful,
    pg_catalog.current_setting('server_version') AS server_version
FROM pg_catalog.pg_roles AS r
WHERE r.rolname = CURRENT_USER
"""
"""Role, power and server; under a pinned search_path."""

# Whose the tables are, their partitions, and the schemas where these stand.
_OTHERS = """
WITH RECURSIVE parts AS (
    SELECT c.oid FROM pg_catalog.pg_class AS c WHERE c.oid = ANY(%s)
    UNION
    SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i JOIN parts AS p ON i.inhparent = p.oid
)

SELECT r.rolname::pg_catalog.text AS owner_name
FROM (
    SELECT c.relowner AS owner
    FROM parts AS p
    JOIN pg_catalog.pg_class AS c ON c.oid = p.oid
    UNION ALL
    SELECT CASE o.rolname WHEN 'pg_database_owner' THEN d.datdba ELSE n.nspowner END
    FROM parts AS p
    JOIN pg_catalog.pg_class AS c ON c.oid = p.oid
    JOIN pg_catalog.pg_namespace AS n ON c.relnamespace = n.oid
    JOIN pg_catalog.pg_roles AS o ON n.nspowner = o.oid
    JOIN pg_catalog.pg_database AS d ON d.datname = pg_catalog.current_database()
) AS owners
JOIN pg_catalog.pg_roles AS r ON owners.owner = r.oid
WHERE NOT r.rolsuper
LIMIT 1
"""

_LACKING = """
SELECT n.nspname || '.' || c.relname AS relation, a.attname AS column_name
FROM ROWS FROM (
    pg_catalog.unnest(%(oids)s::pg_catalog.oid[]), pg_catalog.unnest(%(columns)s::pg_catalog.text[])
) AS needed (oid, attname)
JOIN pg_catalog.pg_class AS c ON c.oid = needed.oid
JOIN pg_catalog.pg_namespace AS n ON c.relnamespace = n.oid
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attname = needed.attname
WHERE
    NOT pg_catalog.has_schema_privilege(n.oid, 'USAGE')
    OR NOT pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT')
ORDER BY 1, 2
LIMIT 1
"""

_HIDDEN = """
SELECT
    n.nspname || '.' || c.relname AS relation,
    r.rolname AS owner_name
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON c.relnamespace = n.oid
JOIN pg_catalog.pg_roles AS r ON c.relowner = r.oid
WHERE c.oid = ANY(%s) AND pg_catalog.row_security_active(c.oid)
ORDER BY 1
"""


def refuse_power(conn: Connection, place: Place, powerful: str | None) -> None:
    """Refuse who has all rights on the server where somebody with fewer can have code run.

    An owner may put a function into an index, a check or statistics. It runs while a query of the
    table is planned, and SET ROLE does not hold it: it can become whoever the session may become.

    Raises:
        RefusedError: it is so.
    """
    if powerful is None:
        return
    oids = [table.oid for table in place.tables.values()]
    reasons = [
        f"{row['owner_name']}, who owns what is to be read, can put functions into indexes and "
        "statistics of it, which run"
        for row in conn.execute(_OTHERS, (oids,))
    ]
    reasons += [
        f"{each.kind} {each.name} on {each.table} calls {each.code} of {each.owner}, who can have "
        "it do anything; it runs"
        for each in list_planned(conn, place)
        if not each.is_of_superuser
    ]
    for reason in reasons:
        raise RefusedError(
            f"{reason} with the rights of whoever reads; this session may become {powerful}, which "
            "has all rights on the server; nothing was verified. Verify as a role with no rights "
            "to lose: CREATE ROLE auditor LOGIN; GRANT pg_read_all_data TO auditor; then --dsn "
            "with user=auditor."
        )


def step_down(
    conn: Connection, place: Place, role: str, is_superuser: bool
) -> tuple[str, str | None]:
    """Give up a superuser's rights; gives the role to read as, and a remark."""
    if not is_superuser:
        return role, None
    become(conn, _READ_ALL)
    oids = [table.oid for table in place.tables.values()]
    if conn.execute(_HIDDEN, (oids,)).fetchall():
        become(conn, role)
        return role, (
            f"{role} is a superuser, and row-level security hides rows from every other role that "
            "has no BYPASSRLS. Verify as one that has it, and no other rights to lose"
        )
    return _READ_ALL, (
        f"{role} is a superuser, so it was read as {_READ_ALL}. Verify as a role that has no "
        "rights to lose: CREATE ROLE auditor LOGIN; GRANT pg_read_all_data TO auditor"
    )


def become(conn: Connection, role: str) -> None:
    """Take a role until the transaction ends."""
    conn.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))


def check_rights(conn: Connection, place: Place, role: str) -> None:
    """Refuse who cannot see all of what is to be read.

    Raises:
        RefusedError: it is so.
    """
    needed = [
        (table.oid, column)
        for name, table in place.tables.items()
        for column in (OWN.get(name) or HOST[name])
    ]
    rows = conn.execute(
        _LACKING,
        {"oids": [oid for oid, _ in needed], "columns": [column for _, column in needed]},
    ).fetchall()
    if rows:
        raise RefusedError(
            f"role {role} may not read {rows[0]['relation']} ({rows[0]['column_name']}), and what "
            "it cannot see it cannot verify; nothing was verified. The owner of the engine's "
            f"tables gives it what it needs: step-audit grant {role} --as auditor"
        )

    hidden = conn.execute(_HIDDEN, (list({oid for oid, _ in needed}),)).fetchall()
    if hidden:
        raise RefusedError(
            f"row-level security of {hidden[0]['relation']} hides rows from role {role}, and what "
            "it cannot see it cannot verify; nothing was verified. Verify as a role with "
            f"BYPASSRLS, or as {hidden[0]['owner_name']}, to whom the table belongs."
        )
