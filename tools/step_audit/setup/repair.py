"""What of our tables is not as the migrations made them, and the statements that mend it.

The migrations are run once more, into temporary tables that are rolled back: what the catalog says
of those is compared with what it says of ours. So each table, key, default and index has one home.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from step_audit.database import Connection
from step_audit.errors import RefusedError
from step_audit.setup.sources import SourceFile

_TABLE = re.compile(r"^CREATE TABLE (\w+) \(", re.MULTILINE)


@dataclass(frozen=True)
class Repairs:
    """What mends our tables.

    Attributes:
        objects: what is mended, as the ledger names it.
        statements: to be run in the transaction of the install, in the schema of step-audit.
        indexes: to be run after it, each alone, so that no writer waits.
        notes: what is not mended, a sentence or two each.
    """

    objects: tuple[str, ...] = ()
    statements: tuple[sql.Composed, ...] = ()
    indexes: tuple[sql.Composed, ...] = ()
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything is mended."""
        return bool(self.objects)


@dataclass(frozen=True)
class _Mended:
    name: str
    statements: tuple[sql.Composed, ...] = ()
    indexes: tuple[sql.Composed, ...] = ()


# Only the tables that this transaction has made.
_TABLES = """
SELECT
    s.oid AS wanted,
    t.oid AS found,
    t.relname AS name,
    t.relkind = 'p' AS is_partitioned
FROM pg_catalog.pg_class AS s
JOIN pg_catalog.pg_class AS t ON s.relname = t.relname
JOIN pg_catalog.pg_namespace AS n ON t.relnamespace = n.oid
WHERE
    s.relnamespace = pg_catalog.pg_my_temp_schema()
    AND s.relkind IN ('r', 'p')
    AND s.relname = ANY(%s)
    AND n.nspname = %s
ORDER BY t.relname
"""

_CONSTRAINTS = """
SELECT
    c.conname AS name,
    pg_catalog.pg_get_constraintdef(c.oid) AS definition,
    ' WITH (' || pg_catalog.array_to_string(i.reloptions, ', ') || ')' AS storage,
    pg_catalog.obj_description(c.oid, 'pg_constraint') AS description
FROM pg_catalog.pg_constraint AS c
LEFT JOIN pg_catalog.pg_class AS i ON c.conindid = i.oid
WHERE c.conrelid = %s AND c.contype IN ('p', 'u', 'c')
ORDER BY c.contype <> 'p', c.conname
"""

_COLUMNS = """
SELECT
    a.attname AS name,
    a.attnotnull AS is_needed,
    pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS default_text
FROM pg_catalog.pg_attribute AS a
LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""

_INDEXES = """
SELECT
    i.relname AS name,
    x.indisunique AS is_unique,
    x.indisvalid AND x.indisready AND x.indislive AS is_usable,
    pg_catalog.split_part(
        pg_catalog.pg_get_indexdef(i.oid), '.' || pg_catalog.quote_ident(t.relname) || ' ', 2
    ) AS definition,
    pg_catalog.obj_description(i.oid, 'pg_class') AS description
FROM pg_catalog.pg_index AS x
JOIN pg_catalog.pg_class AS i ON x.indexrelid = i.oid
JOIN pg_catalog.pg_class AS t ON x.indrelid = t.oid
WHERE
    x.indrelid = %s
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint AS c WHERE c.conindid = i.oid)
ORDER BY i.relname
"""


def check_tables(conn: Connection, schema: str, migrations: Iterable[SourceFile]) -> None:
    """See that each table of these migrations is there.

    Raises:
        RefusedError: one is gone.
    """
    wanted = _table_names(migrations)
    found = {
        row["name"]
        for row in conn.execute(
            "SELECT c.relname AS name FROM pg_catalog.pg_class AS c "
            "JOIN pg_catalog.pg_namespace AS n ON c.relnamespace = n.oid "
            "WHERE n.nspname = %s AND c.relkind IN ('r', 'p') AND c.relname = ANY(%s)",
            (schema, wanted),
        )
    }
    if missing := [name for name in wanted if name not in found]:
        raise RefusedError(
            f"schema {schema} lacks {', '.join(missing)}, which step-audit had created: somebody "
            "has dropped or renamed it; nothing was changed. Find out who, and restore it from a "
            "backup or name it back: no command makes lost evidence anew."
        )


def find_repairs(conn: Connection, schema: str, migrations: Iterable[SourceFile]) -> Repairs:
    """What the tables in ``schema`` lack of ``migrations``, which were applied there.

    ``conn`` is in a transaction that is rolled back afterwards.
    """
    migrations = tuple(migrations)
    ledger = {
        row["object_name"]: row["definition"]
        for row in conn.execute(
            sql.SQL("SELECT object_name, definition FROM {}").format(
                sql.Identifier(schema, "step_audit_objects")
            )
        )
    }
    conn.execute("SET LOCAL search_path = pg_temp")
    try:
        for file in migrations:
            conn.execute(file.text.encode())
    except psycopg.errors.InsufficientPrivilege as error:
        return Repairs(
            notes=(
                "keys, indexes and defaults of step-audit's tables were not compared with those of "
                f"this release ({error.diag.message_primary}). GRANT TEMPORARY ON DATABASE to the "
                "owner of the engine's tables, and run it again.",
            )
        )
    names = _table_names(migrations)
    mended: list[_Mended] = []
    for table in conn.execute(_TABLES, (names, schema)).fetchall():
        mended += _constraints(conn, table)
        mended += _columns(conn, table, ledger)
        mended += _indexes(conn, table, schema)
    return Repairs(
        tuple(each.name for each in mended),
        tuple(statement for each in mended for statement in each.statements),
        tuple(statement for each in mended for statement in each.indexes),
    )


def _table_names(migrations: Iterable[SourceFile]) -> list[str]:
    return [name for file in migrations for name in _TABLE.findall(file.text)]


def _constraints(conn: Connection, table: dict[str, Any]) -> Iterator[_Mended]:
    wanted = conn.execute(_CONSTRAINTS, (table["wanted"],)).fetchall()
    found = {
        row["name"]: row["definition"] for row in conn.execute(_CONSTRAINTS, (table["found"],))
    }
    ours = {row["name"] for row in wanted}
    relation = sql.Identifier(table["name"])
    for row in wanted:
        name, definition = row["name"], row["definition"]
        if found.get(name) == definition:
            continue
        constraint = sql.Identifier(name)
        statements = []
        renamed = [
            other for other, text in found.items() if text == definition and other not in ours
        ]
        if name in found:
            statements.append(
                sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(relation, constraint)
            )
        if renamed:
            statements.append(
                sql.SQL("ALTER TABLE {} RENAME CONSTRAINT {} TO {}").format(
                    relation, sql.Identifier(renamed[0]), constraint
                )
            )
        else:
            statements.append(
                sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}").format(
                    relation, constraint, _text(definition + (row["storage"] or ""))
                )
            )
        statements.append(
            sql.SQL("COMMENT ON CONSTRAINT {} ON {} IS {}").format(
                constraint, relation, sql.Literal(row["description"])
            )
        )
        yield _Mended(f"constraint {table['name']}.{name}", tuple(statements))


def _columns(conn: Connection, table: dict[str, Any], ledger: dict[str, str]) -> Iterator[_Mended]:
    found = {row["name"]: row for row in conn.execute(_COLUMNS, (table["found"],))}
    for row in conn.execute(_COLUMNS, (table["wanted"],)).fetchall():
        name, default = row["name"], row["default_text"]
        if name not in found:
            continue
        alter = sql.SQL("ALTER TABLE {} ALTER COLUMN {} ").format(
            sql.Identifier(table["name"]), sql.Identifier(name)
        )
        field = f"default {table['name']}.{name}"
        # What was recorded stays after an upgrade of the server, which would have another.
        if found[name]["default_text"] != default and (
            found[name]["default_text"] is None or found[name]["default_text"] != ledger.get(field)
        ):
            how = sql.SQL("DROP DEFAULT") if default is None else _text(f"SET DEFAULT {default}")
            yield _Mended(field, (alter + how,))
        if row["is_needed"] and not found[name]["is_needed"]:
            yield _Mended(f"column {table['name']}.{name}", (alter + sql.SQL("SET NOT NULL"),))


def _indexes(conn: Connection, table: dict[str, Any], schema: str) -> Iterator[_Mended]:
    found = {row["name"]: row for row in conn.execute(_INDEXES, (table["found"],))}
    # A partitioned table's cannot be built beside writers.
    beside = sql.SQL("" if table["is_partitioned"] else "CONCURRENTLY ")
    for row in conn.execute(_INDEXES, (table["wanted"],)).fetchall():
        name = row["name"]
        there = found.get(name)
        if there and there["definition"] == row["definition"] and there["is_usable"]:
            continue
        index = sql.Identifier(schema, name)
        # A comment goes along with a rename: whoever has ours is ours.
        renamed = [
            other["name"]
            for other in found.values()
            if other["definition"] == row["definition"]
            and other["description"] == row["description"]
            and other["is_usable"]
            and other is not there
        ]
        if renamed and not there:
            rename = sql.SQL("ALTER INDEX {} RENAME TO {}").format(
                sql.Identifier(renamed[0]), sql.Identifier(name)
            )
            yield _Mended(f"index {name}", (rename,))
            continue
        anew = [
            sql.SQL("CREATE {}INDEX {}{} ON {} {}").format(
                sql.SQL("UNIQUE " if row["is_unique"] else ""),
                beside,
                sql.Identifier(name),
                sql.Identifier(schema, table["name"]),
                _text(row["definition"]),
            ),
            sql.SQL("COMMENT ON INDEX {} IS {}").format(index, sql.Literal(row["description"])),
        ]
        if there:
            anew.insert(0, sql.SQL("DROP INDEX {}{}").format(beside, index))
        yield _Mended(f"index {name}", indexes=tuple(anew))


def _text(text: str) -> sql.Composed:
    """What the server has printed of our own migrations, as it is."""
    return sql.Composed([sql.SQL(text)])
