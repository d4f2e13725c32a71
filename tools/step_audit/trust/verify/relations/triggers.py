"""The engine's transitions have our trigger, and our tables their guards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from step_audit.database import Connection
from step_audit.setup.sources import Sources
from step_audit.trust.verify.report import Finding
from step_audit.trust.verify.tables import HOST, LEDGER, OWN, STEPS, TRANSITIONS, Place

GUARD, GUARD_TRUNCATE = "trg_append_only", "trg_append_only_truncate"

# pg_trigger.tgtype.
_ROW, _BEFORE, _INSERT, _DELETE, _UPDATE, _TRUNCATE = 1, 2, 4, 8, 16, 32


@dataclass(frozen=True)
class _Trigger:
    """A trigger as it has to be; ``columns`` are those of UPDATE OF."""

    name: str
    function: str
    type: int
    columns: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()

    @property
    def is_of_rows(self) -> bool:
        return bool(self.type & _ROW)


_GUARDS = (
    _Trigger(GUARD, "reject_audit_change", _ROW | _BEFORE | _DELETE | _UPDATE),
    _Trigger(GUARD_TRUNCATE, "reject_audit_change", _BEFORE | _TRUNCATE),
)


def _host_triggers(place: Place) -> dict[str, tuple[_Trigger, ...]]:
    """What each of the engine's tables has to have; on each partition what is of a statement."""
    truncate, function = "trg_step_audit_truncate", "record_step_audit_truncate"
    is_beside = place.host_schema != place.schema
    return {
        TRANSITIONS: (
            _Trigger(
                "trg_step_audit" if is_beside else "trg_step_result_audit",
                "create_step_result_audit",
                _ROW | _INSERT,
            ),
            _Trigger(
                "trg_step_audit_change",
                "record_step_audit_change",
                _ROW | _DELETE | _UPDATE,
                (
                    "workflow_step_transition_uuid",
                    "workflow_step_uuid",
                    "from_state",
                    "to_state",
                    "sort_key",
                    "created_at",
                    "metadata",
                ),
            ),
            _Trigger(truncate, function, _BEFORE | _TRUNCATE, arguments=("transitions",)),
        ),
        STEPS: (
            _Trigger("trg_step_audit_deleted", "record_deleted_step", _ROW | _DELETE),
            _Trigger(truncate, function, _BEFORE | _TRUNCATE, arguments=("steps",)),
        ),
    }


_TRIGGERS = """
SELECT
    t.tgrelid AS oid,
    t.tgname AS name,
    t.tgtype AS type,
    t.tgenabled::pg_catalog.text AS enabled,
    t.tgisinternal AS is_internal,
    t.tgparentid <> 0::pg_catalog.oid AS is_inherited,
    ARRAY(
        SELECT a.attname::pg_catalog.text
        FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = t.tgrelid AND a.attnum = ANY(t.tgattr::pg_catalog.int2[])
    ) AS columns,
    t.tgargs AS arguments,
    (
        t.tgqual IS NULL
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
    """The engine's tables have our triggers, our tables their guards, and nothing else."""
    own = {place[name].oid: name for name in OWN}
    engine = {table.oid: name for name, table in place.tables.items() if name in HOST}
    # Of each of the engine's tables: itself and its partitions, by what a finding calls them.
    members = {name: {oid: name, **_partitions(conn, place, name)} for oid, name in engine.items()}
    shown = {oid: each for parts in members.values() for oid, each in parts.items()}
    rows = conn.execute(_TRIGGERS, ([*shown, *own],)).fetchall()
    for name, wanted in _host_triggers(place).items():
        for trigger in wanted:
            yield from _examine_host_trigger(place, rows, trigger, name, members[name])
    # The key by which a result has its step is kept by these.
    for each in rows:
        if each["oid"] in shown and each["is_internal"] and each["enabled"] == "D":
            field = f"trigger {shown[each['oid']]}.{each['name']}"
            yield Finding("altered object", field=field, stored="disabled")
    for oid, table in own.items():
        mine = {row["name"]: row for row in rows if row["oid"] == oid}
        if table not in LEDGER:
            for guard in _GUARDS:
                yield 1
                field = f"trigger {table}.{guard.name}"
                row = mine.pop(guard.name, None)
                problem = row and _trigger_problem(row, guard, place, {"A"})
                if row is None:
                    yield Finding("missing object", field=field)
                elif problem:
                    yield Finding("altered object", field=field, stored=problem)
        for name, row in mine.items():
            if not row["is_internal"]:
                yield Finding("foreign object", field=f"trigger {table}.{name}")
            elif row["enabled"] != "O" or row["function_schema"] != "pg_catalog":
                yield Finding("altered object", field=f"trigger {table}.{name}", stored="disabled")


def _partitions(conn: Connection, place: Place, name: str) -> dict[int, str]:
    table = place[name]
    if not table.is_partitioned:
        return {}
    return {row["oid"]: row["name"] for row in conn.execute(_PARTITIONS, (table.oid,))}


def _examine_host_trigger(
    place: Place,
    rows: list[dict[str, Any]],
    trigger: _Trigger,
    table: str,
    members: dict[int, str],
) -> Iterator[Finding | str | int]:
    yield 1
    found = {
        row["oid"]: row
        for row in rows
        if row["oid"] in members and (row["name"] == trigger.name or _calls(row, place, trigger))
    }
    for oid, name in members.items():
        if not trigger.is_of_rows and len(members) > 1 and oid == place[table].oid:
            continue
        field = f"trigger {name}.{trigger.name}"
        row = found.get(oid)
        problem = row and _trigger_problem(row, trigger, place, {"O", "A"})
        if row is None and oid != place[table].oid and not trigger.is_of_rows:
            # The engine makes partitions as time goes by.
            yield (
                f"partition {name} has no {trigger.name}, so that a TRUNCATE of it alone keeps "
                "nothing of what it takes away; step-audit attach makes it"
            )
        elif row is None:
            yield Finding("missing object", field=field)
        elif problem:
            yield Finding("altered object", field=field, stored=problem)


def _calls(row: dict[str, Any], place: Place, trigger: _Trigger) -> bool:
    return bool(row["function"] == trigger.function and row["function_schema"] == place.schema)


def _trigger_problem(
    row: dict[str, Any], trigger: _Trigger, place: Place, enabled: set[str]
) -> str | None:
    if row["enabled"] not in enabled:
        states = {"D": "disabled", "R": "enabled for replicas only", "O": "not enabled always"}
        return states.get(str(row["enabled"]), str(row["enabled"]))
    if not _calls(row, place, trigger):
        return f"made to call {row['function_schema']}.{row['function']}"
    if (
        row["type"] != trigger.type
        or not row["is_plain"]
        or set(row["columns"]) != set(trigger.columns)
        or row["arguments"] != b"".join(each.encode() + b"\0" for each in trigger.arguments)
    ):
        return "made for other rows or another time"
    return None
