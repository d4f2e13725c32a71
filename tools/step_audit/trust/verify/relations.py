"""Our tables and what hangs on them, and the trigger on the engine's, as the catalog has them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from step_audit.database import Connection
from step_audit.setup.sources import Sources
from step_audit.trust.verify.report import Finding
from step_audit.trust.verify.tables import (
    AUDIT,
    EVENTS,
    FILES,
    HOST,
    LEDGER,
    OBJECTS,
    OPTIONAL,
    OWN,
    STEPS,
    TASKS,
    TRANSITIONS,
    Place,
)

Examined = Iterator[Finding | str | int]

GUARD, GUARD_TRUNCATE = "trg_append_only", "trg_append_only_truncate"
GUARD_FUNCTION, AUDIT_FUNCTION = "reject_audit_change", "create_step_result_audit"

# pg_trigger.tgtype: ROW 1, BEFORE 2, INSERT 4, DELETE 8, UPDATE 16, TRUNCATE 32.
_GUARDS = {GUARD: 1 + 2 + 8 + 16, GUARD_TRUNCATE: 2 + 32}
_AUDIT_TRIGGER = 1 + 4

_NOW = "(now() AT TIME ZONE 'UTC'::text)"
_TRANSACTION = "((pg_current_xact_id())::text)::bigint"
_KEYS = (
    "uuidv7()",
    "gen_random_uuid()",
    re.compile(r"\(\(\"left\"\(.*gen_random_uuid\(\).*\)\)::uuid", re.DOTALL),
)

_DEFAULTS: dict[str, dict[str, str]] = {
    AUDIT: {
        "recorded_at": _NOW,
        "created_at": _NOW,
        "updated_at": _NOW,
        "recorded_by": "SESSION_USER",
        "recorded_xid": _TRANSACTION,
        "backfilled": "false",
    },
    EVENTS: {"recorded_at": _NOW, "recorded_by": "SESSION_USER", "recorded_xid": _TRANSACTION},
    "step_audit_seals": {"sealed_at": _NOW},
    "step_audit_files": {"applied_at": _NOW},
    OBJECTS: {"recorded_at": _NOW},
}
_KEY_COLUMNS = {AUDIT: "workflow_step_result_audit_uuid", EVENTS: "step_audit_event_uuid"}

# Name, table, columns: the keys that are unique.
_UNIQUE = {
    "pk_audit": (AUDIT, ("workflow_step_result_audit_uuid",)),
    "uq_audit_step_transition": (AUDIT, ("workflow_step_transition_uuid", "workflow_step_uuid")),
    "pk_audit_anomaly": (f"{AUDIT}_anomalies", ("workflow_step_result_audit_uuid", "field")),
    "pk_step_audit_event": (EVENTS, ("step_audit_event_uuid",)),
    "pk_step_audit_leaf": ("step_audit_leaves", ("leaf_index",)),
    "uq_step_audit_leaf_record": ("step_audit_leaves", ("record_uuid",)),
    "pk_step_audit_salt": ("step_audit_salts", ("leaf_index",)),
    "pk_step_audit_subtree": ("step_audit_subtrees", ("height", "subtree_index")),
    "pk_step_audit_seal": ("step_audit_seals", ("tree_size",)),
    "pk_step_audit_file": ("step_audit_files", ("path",)),
    "pk_step_audit_object": (OBJECTS, ("object_name",)),
}
# The keys to the engine's tables, which may be enforced, declared only, or absent.
_FOREIGN = {
    "fk_audit_task": ("task_uuid", TASKS),
    "fk_audit_step": ("workflow_step_uuid", STEPS),
    "fk_audit_transition": ("workflow_step_transition_uuid", TRANSITIONS),
}

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


def examine_tables(conn: Connection, place: Place, sources: Sources) -> Examined:
    """Our tables are plain: no view, foreign or temporary table, no child, no rule, no policy."""
    names = {table.oid: name for name, table in place.tables.items()}
    rows = conn.execute(_TABLES, (list(names),)).fetchall()
    owner = next(row["owner"] for row in rows if names[row["oid"]] == FILES)
    for row in rows:
        name = names[row["oid"]]
        ours = name in OWN
        yield 1
        problems = [
            ("is a partitioned table", ours and row["kind"] != "r"),
            ("is not permanent", row["persistence"] != "p"),
            (
                "is not a heap",
                row["method"] not in ({"heap"} if ours else {"heap", "columnar", None}),
            ),
            ("belongs to another role", ours and row["owner"] != owner),
            ("has row-level security", ours and (row["has_row_security"] or row["has_policies"])),
            ("is a child of another table", ours and row["is_child"]),
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


_COLUMNS = """
SELECT
    a.attrelid AS oid,
    a.attname AS name,
    a.atttypid::pg_catalog.int8 AS type_oid,
    t.typtype::pg_catalog.text AS type_kind,
    pg_catalog.format_type(a.atttypid, a.atttypmod) AS type_name,
    a.attgenerated::pg_catalog.text AS generated,
    a.attnotnull AS is_needed,
    coalesce(c.collisdeterministic, TRUE) AS is_deterministic,
    pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS default_text
FROM pg_catalog.pg_attribute AS a
JOIN pg_catalog.pg_type AS t ON a.atttypid = t.oid
LEFT JOIN pg_catalog.pg_collation AS c ON a.attcollation = c.oid
LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = ANY(%s) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""


def examine_columns(conn: Connection, place: Place, sources: Sources) -> Examined:
    """Columns are of the built-in types that are expected, plain, and have the defaults of ours."""
    names = {table.oid: name for name, table in place.tables.items()}
    for row in conn.execute(_COLUMNS, (list(names),)):
        table, column = names[row["oid"]], row["name"]
        field = f"column {table}.{column}"
        if table in OWN:
            yield 1
            yield from _examine_own_column(table, row, field)
        elif column in HOST[table]:
            yield 1
            wanted = HOST[table][column]
            is_enum = None in wanted and row["type_kind"] == "e"
            if row["type_oid"] not in wanted and not is_enum:
                yield Finding("altered object", field=field, stored=f"of type {row['type_name']}")
            if row["generated"] == "v":
                yield Finding("altered object", field=field, stored="generated when it is read")


def _examine_own_column(table: str, row: dict[str, Any], field: str) -> Iterator[Finding]:
    column, default = row["name"], row["default_text"]
    if column not in OWN[table]:
        yield Finding("foreign object", field=field)
        return
    if row["type_oid"] != OWN[table][column]:
        yield Finding("altered object", field=field, stored=f"of type {row['type_name']}")
    if row["generated"]:
        yield Finding("altered object", field=field, stored="generated")
        return
    if not row["is_needed"] and column not in OPTIONAL.get(table, ()):
        yield Finding("altered object", field=field, stored="may be NULL")
    if not row["is_deterministic"]:
        yield Finding("altered object", field=field, stored="of a collation in which texts vary")
    if _KEY_COLUMNS.get(table) == column:
        fits = any(
            default == key if isinstance(key, str) else key.fullmatch(default or "")
            for key in _KEYS
        )
        expected: str | None = "a UUIDv7"
    else:
        expected = _DEFAULTS.get(table, {}).get(column)
        fits = default == expected
    if not fits:
        yield Finding(
            "altered object", field=f"default {table}.{column}", stored=default, expected=expected
        )


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


def examine_triggers(conn: Connection, place: Place, sources: Sources) -> Examined:
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
) -> Examined:
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
        states = {"D": "disabled", "R": "fires for replicas only", "O": "does not fire always"}
        return states.get(str(row["enabled"]), str(row["enabled"]))
    if not _is_ours(row, place, function):
        return f"calls {row['function_schema']}.{row['function']}"
    if row["type"] != kind or not row["is_plain"]:
        return "fires for other rows or at another time"
    return None


_CONSTRAINTS = """
SELECT
    c.conrelid AS oid,
    c.conname AS name,
    c.contype::pg_catalog.text AS type,
    c.convalidated AS is_validated,
    c.condeferrable AS is_deferrable,
    c.confrelid AS target,
    pg_catalog.pg_get_constraintdef(c.oid) AS definition,
    (
        SELECT pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY k.place)
        FROM pg_catalog.unnest(c.conkey) WITH ORDINALITY AS k (attnum, place)
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = k.attnum
    ) AS columns,
    coalesce(
        i.indisunique AND i.indisvalid AND i.indisready AND i.indislive AND i.indimmediate
        AND i.indpred IS NULL AND i.indexprs IS NULL,
        FALSE
    ) AS is_kept
FROM pg_catalog.pg_constraint AS c
LEFT JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.conindid
WHERE c.conrelid = ANY(%s) AND c.contype <> 'n' AND c.conparentid = 0::pg_catalog.oid
"""

_LEDGER = "SELECT object_name, definition FROM {}"


def examine_keys(conn: Connection, place: Place, sources: Sources) -> Examined:
    """Our unique keys are there and kept; the keys to the engine are those of the attach."""
    own = {place[name].oid: name for name in OWN}
    rows = conn.execute(_CONSTRAINTS, (list(own),)).fetchall()
    found = {(own[row["oid"]], row["name"]): row for row in rows}
    for name, (table, columns) in _UNIQUE.items():
        yield 1
        field = f"constraint {table}.{name}"
        row = found.pop((table, name), None)
        if row is None:
            yield Finding("missing object", field=field)
        elif not row["is_kept"] or tuple(row["columns"]) != columns or row["is_deferrable"]:
            yield Finding("altered object", field=field, stored=row["definition"])
    yield from _examine_foreign_keys(conn, place, found)
    for (table, name), row in found.items():
        field = f"constraint {table}.{name}"
        yield Finding("foreign object", field=field, stored=row["definition"])


def _examine_foreign_keys(
    conn: Connection, place: Place, found: dict[tuple[str, str], dict[str, Any]]
) -> Examined:
    recorded = read_ledger(conn, place)
    for name, (column, _) in _FOREIGN.items():
        field = f"constraint {AUDIT}.{name}"
        row, chosen = found.pop((AUDIT, name), None), recorded.get(field)
        yield 1
        if row is None:
            if chosen is not None:
                yield Finding("missing object", field=field, expected=chosen)
            continue
        is_enforced = "NOT ENFORCED" not in row["definition"]
        fits = (
            row["type"] == "f"
            and row["columns"] == [column]
            and chosen is not None
            and is_enforced is ("NOT ENFORCED" not in chosen)
        )
        if not fits:
            kind = "altered object" if chosen else "foreign object"
            yield Finding(kind, field=field, stored=row["definition"], expected=chosen)


def read_ledger(conn: Connection, place: Place) -> dict[str, str]:
    """What was written down of the objects when step-audit was attached."""
    from step_audit.trust.verify.queries import columns_of  # noqa: PLC0415

    return {
        (name or b"").decode(): (text or b"").decode()
        for name, text in columns_of(conn, place, OBJECTS, "object_name", "definition")
    }


_INDEXES = """
SELECT
    x.indrelid AS oid,
    i.relname AS name,
    m.amname AS method,
    x.indisvalid AND x.indisready AND x.indislive AS is_usable,
    pg_catalog.pg_get_expr(x.indpred, x.indrelid) AS predicate,
    x.indexprs IS NOT NULL AS has_expressions,
    (
        SELECT pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY k.place)
        FROM pg_catalog.unnest(x.indkey::pg_catalog.int2[]) WITH ORDINALITY AS k (attnum, place)
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = x.indrelid AND a.attnum = k.attnum
    ) AS columns,
    EXISTS (
        SELECT FROM pg_catalog.pg_constraint AS c
        WHERE c.conindid = x.indexrelid AND c.contype IN ('p', 'u')
    ) AS is_of_key
FROM pg_catalog.pg_index AS x
JOIN pg_catalog.pg_class AS i ON x.indexrelid = i.oid
JOIN pg_catalog.pg_am AS m ON i.relam = m.oid
WHERE x.indrelid = ANY(%s)
ORDER BY i.relname
"""

_CREATE_INDEX = re.compile(
    r"^CREATE INDEX (?P<name>\w+)\nON (?P<table>\w+)(?: USING (?P<method>\w+))? "
    r"\((?P<columns>[^)]*)\)(?: WITH \([^)]*\))?(?:\nWHERE (?P<predicate>[^;]*))?;",
    re.MULTILINE,
)

# An index that REINDEX CONCURRENTLY builds or drops has the name of another and this behind it.
_TRANSIENT = re.compile(r"_cc(new|old)\d*$")


def examine_indexes(conn: Connection, place: Place, sources: Sources) -> Examined:
    """The indexes of this release are there, and no other has a condition or an expression."""
    wanted = {
        match["name"]: match
        for file in sources.migrations
        for match in _CREATE_INDEX.finditer(file.text)
    }
    own = {place[name].oid: name for name in OWN}
    for row in conn.execute(_INDEXES, (list(own),)).fetchall():
        name, table = row["name"], own[row["oid"]]
        match = wanted.pop(name, None)
        field = f"index {name}"
        if match is not None:
            yield 1
            fits = (
                match["table"] == table
                and row["method"] == (match["method"] or "btree")
                and row["columns"] == [each.strip() for each in match["columns"].split(",")]
                and _without_parentheses(row["predicate"])
                == _without_parentheses(match["predicate"])
                and not row["has_expressions"]
            )
            if not fits:
                yield Finding("altered object", field=field, stored=row["predicate"])
            elif not row["is_usable"]:
                yield Finding("altered object", field=field, stored="invalid")
        elif (
            not row["is_of_key"]
            and (row["predicate"] or row["has_expressions"])
            and not _TRANSIENT.search(name)
        ):
            yield Finding("foreign object", field=f"{field} on {table}", stored=row["predicate"])
    for name in wanted:
        yield Finding("missing object", field=f"index {name}")


def _without_parentheses(text: str | None) -> str:
    return (text or "").replace("(", "").replace(")", "").strip()


_VIEWS = """
SELECT
    c.relname AS name,
    pg_catalog.array_to_string(c.reloptions, ', ') AS options,
    (
        SELECT pg_catalog.string_agg(
            pg_catalog.format(
                '%%I %%s', a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod)
            ), ', ' ORDER BY a.attnum
        )
        FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attnum > 0
    ) AS columns,
    (
        SELECT pg_catalog.array_agg(DISTINCT
            CASE n.nspname
                WHEN s.nspname THEN pg_catalog.quote_ident(b.relname)
                ELSE pg_catalog.format('%%I.%%I', n.nspname, b.relname)
            END
        )
        FROM pg_catalog.pg_rewrite AS r
        JOIN pg_catalog.pg_depend AS d
            ON r.oid = d.objid AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
        JOIN pg_catalog.pg_class AS b ON d.refobjid = b.oid
        JOIN pg_catalog.pg_namespace AS n ON b.relnamespace = n.oid
        WHERE
            r.ev_class = c.oid
            AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
            AND d.refobjid <> c.oid
    ) AS shown
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS s ON c.relnamespace = s.oid
WHERE s.nspname = %s AND c.relkind = 'v' AND c.relname = ANY(%s)
"""


def examine_views(conn: Connection, place: Place, sources: Sources) -> Examined:
    """The views show what they showed when they were made."""
    recorded = {
        name.removeprefix("view "): text
        for name, text in read_ledger(conn, place).items()
        if name.startswith("view ")
    }
    rows = conn.execute(_VIEWS, (place.schema, ["step_audits", *recorded])).fetchall()
    found = {row["name"]: row for row in rows}
    for name in sorted({"step_audits", *recorded}):
        yield 1
        row = found.get(name)
        if row is None:
            yield Finding("missing object", field=f"view {name}")
        elif name in recorded:
            options, columns, shown = (*recorded[name].split("; ", 2), "", "")[:3]
            same = (
                (row["options"] or "").lower() == options.lower()
                and row["columns"].replace(f"{place.schema}.", "") == columns
                and set(row["shown"] or ()) == set(shown.removeprefix("of ").split(", "))
            )
            if not same:
                yield Finding("altered object", field=f"view {name}", expected=recorded[name])
