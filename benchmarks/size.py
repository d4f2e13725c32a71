"""Bytes per record, of the table and of each index, of rows with worker and correlation id."""

from __future__ import annotations

from benchmarks import events
from benchmarks.bench import Bench, Target
from benchmarks.contestants import LEAN_PEER, OURS, PEER, SPEC
from benchmarks.measure import Measurement

TOTAL = "bytes per record, table and all indexes"
HEAP = "of them: table"

_RELATIONS = """
SELECT
    CASE WHEN c.relkind = 'i' AND c.relname !~ '^pg_toast' THEN c.relname ELSE '' END AS index,
    sum(pg_relation_size(c.oid)) AS bytes
FROM (
    SELECT root::oid FROM unnest(%(tables)s::regclass[]) AS root
    UNION
    SELECT t.relid FROM unnest(%(tables)s::regclass[]) AS root, pg_partition_tree(root) AS t
) AS tables (oid)
CROSS JOIN LATERAL (
    SELECT tables.oid
    UNION ALL SELECT indexrelid FROM pg_index WHERE indrelid = tables.oid
    UNION ALL SELECT reltoastrelid FROM pg_class WHERE oid = tables.oid AND reltoastrelid <> 0
    UNION ALL
    SELECT i.indexrelid FROM pg_class AS p JOIN pg_index AS i ON i.indrelid = p.reltoastrelid
    WHERE p.oid = tables.oid
) AS parts (oid)
JOIN pg_class AS c ON c.oid = parts.oid
GROUP BY 1
HAVING sum(pg_relation_size(c.oid)) > 0
ORDER BY 1
"""


def measure(bench: Bench) -> list[Measurement]:
    """Write records with 1 KB events, and look how large the audit became."""
    records = bench.scale.sized_records
    sizes: dict[str, dict[str, float]] = {}
    with bench.targets(SPEC, OURS, PEER, LEAN_PEER) as targets:
        for name, target in targets.items():
            tables = bench.lineup.contestants[name].audit_tables
            sizes[name] = _size(target, tables, records)
    rows = sorted({row for by_row in sizes.values() for row in by_row} - {TOTAL, HEAP})
    return [
        Measurement(
            row,
            "bytes per record",
            {name: [by_row[row]] for name, by_row in sizes.items() if row in by_row},
        )
        for row in (TOTAL, HEAP, *rows)
    ]


def _size(target: Target, tables: tuple[str, ...], records: int) -> dict[str, float]:
    together = min(1000, target.steps)
    for _ in range(records // together):
        target.write_together(events.name("text", "1 KB"), events.RESULT, together)
    # What a summary index holds, it gets from a vacuum.
    target.conn.execute(f"VACUUM {', '.join(tables)}".encode())
    (counted,) = target.conn.execute(
        "SELECT count(*) AS records FROM tasker_workflow_step_transitions"
    ).fetchall()
    found = target.conn.execute(_RELATIONS, {"tables": list(tables)}).fetchall()
    sizes = {
        f"of them: {row['index']}" if row["index"] else HEAP: float(row["bytes"])
        / counted["records"]
        for row in found
    }
    return {TOTAL: sum(sizes.values())} | sizes
