"""Code of somebody's that runs while a query of a table is planned, before a row of it is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from step_audit.database import Connection
from step_audit.setup.sources import Sources
from step_audit.trust.verify.report import Finding
from step_audit.trust.verify.tables import OWN, Place

# An OID from here on is no object of the server's own. A condition is kept with the functions and
# operators that it names; a cast is kept as its function, or as the domain that it leads to. That
# these call other functions is their owner's matter: a superuser's are taken to be trusted.
_PLANNED = """
WITH RECURSIVE relations AS (
    SELECT c.oid, c.oid AS root FROM pg_catalog.pg_class AS c WHERE c.oid = ANY(%s)
    UNION
    SELECT i.inhrelid, r.root
    FROM pg_catalog.pg_inherits AS i
    JOIN relations AS r ON i.inhparent = r.oid
),

objects AS (
    SELECT
        'index' AS kind,
        'pg_catalog.pg_class'::pg_catalog.regclass AS catalog,
        x.indexrelid AS oid,
        c.relname AS name,
        r.root
    FROM relations AS r
    JOIN pg_catalog.pg_index AS x ON x.indrelid = r.oid
    JOIN pg_catalog.pg_class AS c ON x.indexrelid = c.oid
    UNION ALL
    SELECT 'constraint', 'pg_catalog.pg_constraint'::pg_catalog.regclass, k.oid, k.conname, r.root
    FROM relations AS r
    JOIN pg_catalog.pg_constraint AS k ON k.conrelid = r.oid AND k.contype = 'c'
    UNION ALL
    SELECT
        'statistics',
        'pg_catalog.pg_statistic_ext'::pg_catalog.regclass,
        e.oid,
        e.stxname,
        r.root
    FROM relations AS r
    JOIN pg_catalog.pg_statistic_ext AS e ON e.stxrelid = r.oid
    UNION ALL
    SELECT 'partition key of', 'pg_catalog.pg_class'::pg_catalog.regclass, c.oid, c.relname, r.root
    FROM relations AS r
    JOIN pg_catalog.pg_partitioned_table AS p ON p.partrelid = r.oid
    JOIN pg_catalog.pg_class AS c ON p.partrelid = c.oid
),

used AS (
    SELECT o.kind, o.name, o.root, d.refclassid AS catalog, d.refobjid AS oid
    FROM objects AS o
    JOIN pg_catalog.pg_depend AS d
        ON d.classid = o.catalog AND d.objid = o.oid AND d.objsubid = 0
    WHERE d.refobjid >= 16384::pg_catalog.oid
),

calls AS (
    SELECT u.kind, u.name, u.root, 'function ' AS what, p.oid AS function, p.proowner AS owner
    FROM used AS u
    JOIN pg_catalog.pg_proc AS p ON p.oid = u.oid
    WHERE u.catalog = 'pg_catalog.pg_proc'::pg_catalog.regclass
    UNION ALL
    SELECT u.kind, u.name, u.root, 'operator of ', p.oid, p.proowner
    FROM used AS u
    JOIN pg_catalog.pg_operator AS o ON o.oid = u.oid
    JOIN pg_catalog.pg_proc AS p ON o.oprcode = p.oid
    WHERE
        u.catalog = 'pg_catalog.pg_operator'::pg_catalog.regclass
        AND p.oid >= 16384::pg_catalog.oid
    UNION ALL
    SELECT u.kind, u.name, u.root, 'domain ', t.oid, t.typowner
    FROM used AS u
    JOIN pg_catalog.pg_type AS t ON t.oid = u.oid
    WHERE u.catalog = 'pg_catalog.pg_type'::pg_catalog.regclass AND t.typtype = 'd'
    UNION ALL
    SELECT u.kind, u.name, u.root, 'operator class of ', p.oid, p.proowner
    FROM used AS u
    JOIN pg_catalog.pg_opclass AS o ON o.oid = u.oid
    JOIN pg_catalog.pg_amproc AS a ON a.amprocfamily = o.opcfamily
    JOIN pg_catalog.pg_proc AS p ON a.amproc = p.oid
    JOIN pg_catalog.pg_roles AS r ON p.proowner = r.oid
    WHERE
        u.catalog = 'pg_catalog.pg_opclass'::pg_catalog.regclass
        AND p.oid >= 16384::pg_catalog.oid
        AND NOT r.rolsuper
)

SELECT
    c.kind,
    c.name::pg_catalog.text AS name,
    c.root,
    c.what || CASE c.what
        WHEN 'domain ' THEN pg_catalog.format_type(c.function, NULL)
        ELSE c.function::pg_catalog.regprocedure::pg_catalog.text
    END AS code,
    r.rolname::pg_catalog.text AS owner_name,
    r.rolsuper AS is_of_superuser
FROM calls AS c
JOIN pg_catalog.pg_roles AS r ON c.owner = r.oid
ORDER BY 1, 2, 4
"""


@dataclass(frozen=True)
class Planned:
    """An index, constraint, statistics or partition key, and the code that it has the planner run.

    Attributes:
        kind: what it is.
        name: its name.
        table: the table by the name that step-audit gives it; of a partition, the whole.
        code: what is run, for people.
        owner: to whom the code belongs.
        is_of_superuser: whether that is a superuser.
    """

    kind: str
    name: str
    table: str
    code: str
    owner: str
    is_of_superuser: bool

    @property
    def field(self) -> str:
        """What a finding calls it."""
        if self.kind == "constraint":
            return f"constraint {self.table}.{self.name}"
        return f"{self.kind} {self.name} on {self.table}"


def list_planned(conn: Connection, place: Place) -> list[Planned]:
    """All such code; it is looked for in the catalog, which plans nothing of the tables."""
    names = {table.oid: name for name, table in place.tables.items()}
    return [
        Planned(
            row["kind"],
            row["name"],
            names[row["root"]],
            row["code"],
            row["owner_name"],
            row["is_of_superuser"],
        )
        for row in conn.execute(_PLANNED, (list(names),))
    ]


def examine_planned(
    conn: Connection, place: Place, sources: Sources
) -> Iterator[Finding | str | int]:
    """Nothing of ours has code run while a query is planned; what of the engine's has, is told."""
    told = set()
    for each in list_planned(conn, place):
        if each.field in told:
            continue
        told.add(each.field)
        if each.table in OWN:
            yield Finding("foreign object", field=each.field, stored=f"made to call {each.code}")
        else:
            yield (
                f"{each.kind} {each.name} on {each.table} calls {each.code} of {each.owner}, which "
                "may run, with the rights of whoever reads, while a query is planned: ordinary "
                "where it is the engine's own, and what it hides would be found missing"
            )
