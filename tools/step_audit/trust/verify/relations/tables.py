"""Our tables are plain ones, of one owner."""

from __future__ import annotations

from collections.abc import Iterator

from step_audit.database import Connection
from step_audit.setup.sources import Sources
from step_audit.trust.verify.report import Finding
from step_audit.trust.verify.tables import FILES, OWN, Place

_TABLES = """
SELECT
    c.oid,
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
FROM pg_catalog.pg_class AS c
LEFT JOIN pg_catalog.pg_am AS a ON c.relam = a.oid
WHERE c.oid = ANY(%s)
"""


def examine_tables(
    conn: Connection, place: Place, sources: Sources
) -> Iterator[Finding | str | int]:
    """Our tables are plain: no view, foreign or temporary table, no child, no rule, no policy."""
    names = {table.oid: name for name, table in place.tables.items()}
    rows = conn.execute(_TABLES, (list(names),)).fetchall()
    owner = next(row["owner"] for row in rows if names[row["oid"]] == FILES)
    for row in rows:
        name = names[row["oid"]]
        ours = name in OWN
        yield 1
        problems = [
            ("a partitioned table", ours and row["kind"] != "r"),
            ("not permanent", row["persistence"] != "p"),
            (
                "not a heap",
                row["method"] not in ({"heap"} if ours else {"heap", "columnar", None}),
            ),
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
