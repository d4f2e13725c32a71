"""Our tables are plain ones, of one owner; the engine's, and their partitions, are stored here."""

from __future__ import annotations

from collections.abc import Iterator

from step_audit.database import Connection
from step_audit.setup.sources import Sources
from step_audit.trust.verify.report import Finding
from step_audit.trust.verify.tables import FILES, OWN, Place

# The partitions of a partitioned table too, and theirs.
_TABLES = """
WITH RECURSIVE parts AS (
    SELECT c.oid, c.oid AS root FROM pg_catalog.pg_class AS c WHERE c.oid = ANY(%s)
    UNION
    SELECT i.inhrelid, p.root
    FROM parts AS p
    JOIN pg_catalog.pg_class AS c ON p.oid = c.oid AND c.relkind = 'p'
    JOIN pg_catalog.pg_inherits AS i ON i.inhparent = p.oid
)

SELECT
    c.oid,
    parts.root,
    c.oid::pg_catalog.regclass::pg_catalog.text AS shown,
    c.relkind::pg_catalog.text AS kind,
    c.relpersistence::pg_catalog.text AS persistence,
    a.amname AS method,
    c.relowner AS owner,
    c.relrowsecurity OR c.relforcerowsecurity AS has_row_security,
    EXISTS (SELECT FROM pg_catalog.pg_policy AS p WHERE p.polrelid = c.oid) AS has_policies,
    ARRAY(
        SELECT h.inhrelid::pg_catalog.regclass::pg_catalog.text
        FROM pg_catalog.pg_inherits AS h
        WHERE h.inhparent = c.oid
        ORDER BY 1
    ) AS children,
    EXISTS (SELECT FROM pg_catalog.pg_inherits AS h WHERE h.inhrelid = c.oid) AS is_child,
    ARRAY(
        SELECT r.rulename::pg_catalog.text
        FROM pg_catalog.pg_rewrite AS r
        WHERE r.ev_class = c.oid
        ORDER BY 1
    ) AS rules,
    c.relispartition AS is_partition
FROM parts
JOIN pg_catalog.pg_class AS c ON parts.oid = c.oid
LEFT JOIN pg_catalog.pg_am AS a ON c.relam = a.oid
ORDER BY parts.root, shown
"""


_HEAP = frozenset({"heap"})

# What a table of ours and of the engine's may be, and how that is stored; a partitioned table may
# say how its partitions are.
_KINDS: dict[bool, dict[str, frozenset[str | None]]] = {
    True: {"r": _HEAP},
    False: {"r": _HEAP | {"columnar"}, "p": _HEAP | {"columnar", None}},
}
_NO_TABLE = {"p": "a partitioned table", "f": "a foreign table", "m": "a materialized view"}


def examine_tables(
    conn: Connection, place: Place, sources: Sources
) -> Iterator[Finding | str | int]:
    """Our tables are plain: no view, foreign or temporary table, no child, no rule, no policy.

    What a partition of the engine's shows must be stored in it as in any table. Its row-level
    security and its rules are the engine's matter: they say nothing to who reads the whole.
    """
    names = {table.oid: name for name, table in place.tables.items()}
    rows = conn.execute(_TABLES, (list(names),)).fetchall()
    owner = next(row["owner"] for row in rows if names.get(row["oid"]) == FILES)
    for row in rows:
        name = names[row["root"]]
        ours = name in OWN
        if row["oid"] not in names:
            name = f"{row['shown']}, a partition of {name}"
        yield 1
        kinds = _KINDS[ours]
        problems = [
            (_NO_TABLE.get(row["kind"], "no plain table"), row["kind"] not in kinds),
            ("not permanent", row["persistence"] != "p"),
            ("not a heap", row["kind"] in kinds and row["method"] not in kinds[row["kind"]]),
            ("owned by another role", ours and row["owner"] != owner),
            ("under row-level security", ours and (row["has_row_security"] or row["has_policies"])),
            ("a child of another table", ours and row["is_child"]),
        ]
        for problem, holds in problems:
            if holds:
                yield Finding("altered object", field=f"table {name}", stored=problem)
        # A partitioned table has partitions; any other has children whose rows look like its own.
        if row["kind"] != "p":
            for child in row["children"]:
                yield Finding("foreign object", field=f"child {child} of {name}")
        if ours:
            for rule in row["rules"]:
                yield Finding("foreign object", field=f"rule {name}.{rule}")
