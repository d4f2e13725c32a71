"""The engine's transitions have our trigger, and our tables their guards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from step_audit.database import Connection
from step_audit.setup.sources import Sources
from step_audit.trust.verify.report import Finding
from step_audit.trust.verify.tables import HOST, LEDGER, OWN, TRANSITIONS, Place

GUARD, GUARD_TRUNCATE = "trg_append_only", "trg_append_only_truncate"
GUARD_FUNCTION, AUDIT_FUNCTION = "reject_audit_change", "create_step_result_audit"

# pg_trigger.tgtype: ROW 1, BEFORE 2, INSERT 4, DELETE 8, UPDATE 16, TRUNCATE 32.
_GUARDS = {GUARD: 1 + 2 + 8 + 16, GUARD_TRUNCATE: 2 + 32}
_AUDIT_TRIGGER = 1 + 4


_TRIGGERS = """
SELECT
    t.tgrelid AS oid,
    t.tgname AS name,
    t.tgtype AS type,
    t.tgenabled::pg_catalog.text AS enabled,
    t.tgisinternal AS is_internal,
    t.tgparentid <> 0::pg_catalog.oid AS is_inherited,
    (
        t.tgqual IS NULL
        AND t.tgnargs = 0
        AND t.tgattr = ''::pg_catalog.int2vector
        AND NOT t.tgdeferrable
        AND t.tgnewtable IS NULL
        AND t.tgoldtable IS NULL
    ) AS is_plain,
    p.proname AS function,
    n.nspname AS function_schema
FROM pg_catalog.pg_trigger AS t
JOIN pg_catalog.pg_proc AS p ON t.tgfoid = p.oid
JOIN pg_catalog.pg_namespace AS n ON p.pronamespace = n.oid
WHERE t.tgrelid = ANY(%s)
ORDER BY t.tgname
"""

_PARTITIONS = """
WITH RECURSIVE parts AS (
    SELECT i.inhrelid AS oid FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = %s
    UNION
    SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i JOIN parts AS p ON i.inhparent = p.oid
)
SELECT
    c.oid,
    n.nspname || '.' || c.relname AS name
FROM parts AS p
JOIN pg_catalog.pg_class AS c ON p.oid = c.oid
JOIN pg_catalog.pg_namespace AS n ON c.relnamespace = n.oid
WHERE c.relkind <> 'p'
"""


def examine_triggers(
    conn: Connection, place: Place, sources: Sources
) -> Iterator[Finding | str | int]:
    """The engine's transitions have our trigger, our tables their guards, and nothing else."""
    host = place[TRANSITIONS]
    own = {place[name].oid: name for name in OWN}
    parts = (
        {row["oid"]: row["name"] for row in conn.execute(_PARTITIONS, (host.oid,))}
        if host.is_partitioned
        else {}
    )
    engine = {table.oid: name for name, table in place.tables.items() if name in HOST} | parts
    rows = conn.execute(_TRIGGERS, ([*engine, *own],)).fetchall()
    yield from _examine_audit_trigger(place, rows, parts)
    # The key by which a result has its step is kept by these.
    for each in rows:
        if each["oid"] in engine and each["is_internal"] and each["enabled"] == "D":
            field = f"trigger {engine[each['oid']]}.{each['name']}"
            yield Finding("altered object", field=field, stored="disabled")
    for oid, table in own.items():
        mine = {row["name"]: row for row in rows if row["oid"] == oid}
        if table not in LEDGER:
            for guard, kind in _GUARDS.items():
                yield 1
                field = f"trigger {table}.{guard}"
                row = mine.pop(guard, None)
                problem = row and _trigger_problem(row, kind, place, GUARD_FUNCTION, {"A"})
                if row is None:
                    yield Finding("missing object", field=field)
                elif problem:
                    yield Finding("altered object", field=field, stored=problem)
        for name, row in mine.items():
            if not row["is_internal"]:
                yield Finding("foreign object", field=f"trigger {table}.{name}")
            elif row["enabled"] != "O" or row["function_schema"] != "pg_catalog":
                yield Finding("altered object", field=f"trigger {table}.{name}", stored="disabled")


def _examine_audit_trigger(
    place: Place, rows: list[dict[str, Any]], parts: dict[int, str]
) -> Iterator[Finding | str | int]:
    host = place[TRANSITIONS]
    name = "trg_step_result_audit" if host.schema_name == place.schema else "trg_step_audit"
    yield 1
    found = {
        row["oid"]: row
        for row in rows
        if row["name"] == name or _is_ours(row, place, AUDIT_FUNCTION)
    }
    for oid, shown in {host.oid: host.table_name, **parts}.items():
        field = f"trigger {_shown(place, shown)}.{name}"
        row = found.get(oid)
        problem = row and _trigger_problem(row, _AUDIT_TRIGGER, place, AUDIT_FUNCTION, {"O", "A"})
        if row is None:
            yield Finding("missing object", field=field)
        elif problem:
            yield Finding("altered object", field=field, stored=problem)


def _shown(place: Place, table: str) -> str:
    return TRANSITIONS if table == place[TRANSITIONS].table_name else table


def _is_ours(row: dict[str, Any], place: Place, function: str) -> bool:
    return bool(row["function"] == function and row["function_schema"] == place.schema)


def _trigger_problem(
    row: dict[str, Any], kind: int, place: Place, function: str, enabled: set[str]
) -> str | None:
    if row["enabled"] not in enabled:
        states = {"D": "disabled", "R": "enabled for replicas only", "O": "not enabled always"}
        return states.get(str(row["enabled"]), str(row["enabled"]))
    if not _is_ours(row, place, function):
        return f"made to call {row['function_schema']}.{row['function']}"
    if row["type"] != kind or not row["is_plain"]:
        return "made for other rows or another time"
    return None
