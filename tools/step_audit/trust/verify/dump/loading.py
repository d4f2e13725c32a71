"""The files of a dump, read into a file of SQLite, so that memory does not grow with the rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from step_audit.errors import TrustError
from step_audit.trust.verify.dump.columns import reader
from step_audit.trust.verify.dump.copy_text import Block, read_blocks
from step_audit.trust.verify.tables import (
    ANOMALIES,
    AUDIT,
    CHANGES,
    DELETED_STEPS,
    EVENTS,
    HOST,
    LEAVES,
    OWN,
    SALTS,
    SEALS,
    STEPS,
    SUBTREES,
    TRANSITIONS,
)

NEEDED = {
    name: tuple(OWN.get(name) or HOST[name])
    for name in (
        AUDIT,
        ANOMALIES,
        CHANGES,
        DELETED_STEPS,
        EVENTS,
        LEAVES,
        SALTS,
        SUBTREES,
        SEALS,
        STEPS,
        TRANSITIONS,
    )
}
"""The columns of each table that is verified."""

_PREFIX = "tasker_"
# Today's engine calls its tables without the prefix.
_OTHER_NAMES = {name.removeprefix(_PREFIX): name for name in HOST}
# Of the other tables a second row of a key is a finding.
_KEYS = {
    SALTS: ("leaf_index",),
    SUBTREES: ("height", "subtree_index"),
    SEALS: ("tree_size",),
    ANOMALIES: ("workflow_step_result_audit_uuid", "field"),
    STEPS: ("workflow_step_uuid",),
    CHANGES: ("step_audit_change_uuid",),
    EVENTS: ("step_audit_event_uuid",),
}
_INDEXES = (
    *_KEYS.items(),
    (AUDIT, ("workflow_step_result_audit_uuid",)),
    (AUDIT, ("workflow_step_transition_uuid",)),
    (LEAVES, ("leaf_index",)),
    (LEAVES, ("record_uuid",)),
    (TRANSITIONS, ("workflow_step_transition_uuid",)),
    (CHANGES, ("workflow_step_transition_uuid",)),
    (DELETED_STEPS, ("workflow_step_uuid",)),
)


@dataclass
class _Table:
    """What was read of a table: under which name, its rows, and where they begin in the files."""

    name: str
    rows: int = 0
    blocks: list[tuple[int, Path, int]] = field(default_factory=list)

    @property
    def schema(self) -> str:
        """The schema in that name."""
        return self.name.rpartition(".")[0]

    def where(self, row: int) -> str:
        """The file and the line of a row, which are counted from 1 as they were read."""
        first, path, line = max(block for block in self.blocks if block[0] <= row)
        return f"{path}, line {line + row - first + 1}"


@dataclass(frozen=True)
class Loaded:
    """What was read.

    Attributes:
        rows: of each table.
        schema: where step-audit was.
        engine: the engine's transitions, by their name in the dump.
    """

    rows: dict[str, int]
    schema: str
    engine: str


def load(store: sqlite3.Connection, folder: Path) -> Loaded:
    """Read all files of a folder into tables of ``store``, each by the name step-audit gives it.

    Raises:
        TrustError: a table is lacking, or something in it is not as pg_dump writes it.
    """
    store.execute("PRAGMA journal_mode = OFF")
    store.execute("PRAGMA synchronous = OFF")
    for name, columns in NEEDED.items():
        store.execute(f"CREATE TABLE {name} ({', '.join(columns)})")
    tables: dict[str, _Table] = {}
    store.execute("BEGIN")
    for path in _files(folder):
        for block in read_blocks(path):
            name = _OTHER_NAMES.get(block.table, block.table)
            if name in NEEDED:
                _load_block(store, block, name, tables)
    store.execute("COMMIT")
    _check_all_there(folder, tables)
    for name, columns in _INDEXES:
        index = "_".join(("idx", name, *columns))
        store.execute(f"CREATE INDEX {index} ON {name} ({', '.join(columns)})")
    _check_keys(store, tables)
    _check_schemas(tables)
    return Loaded(
        {name: table.rows for name, table in tables.items()},
        tables[AUDIT].schema,
        tables[TRANSITIONS].name,
    )


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(each for each in folder.iterdir() if each.is_file())
    except OSError as error:
        raise TrustError(
            f"{folder} cannot be read: {error.strerror}; nothing was verified. Make it readable."
        ) from error


def _load_block(
    store: sqlite3.Connection, block: Block, name: str, tables: dict[str, _Table]
) -> None:
    full_name = f"{block.schema}.{block.table}"
    table = tables.setdefault(name, _Table(full_name))
    if table.name != full_name:
        raise TrustError(
            f"{block.lines.path}, line {block.line}: rows of {full_name}, where those of "
            f"{table.name} are in the folder too; nothing was verified. Take the files of the "
            "other away."
        )
    table.blocks.append((table.rows + 1, block.lines.path, block.line))
    marks = ", ".join("?" * len(NEEDED[name]))
    inserted = store.executemany(f"INSERT INTO {name} VALUES ({marks})", _values(block, name))
    table.rows += max(inserted.rowcount, 0)


def _values(block: Block, name: str) -> Iterator[list[Any]]:
    for column in NEEDED[name]:
        if column not in block.columns:
            raise block.lines.mangled(
                f"{name} has no column {column}, unless another release wrote it"
            )
    columns = [
        (column, block.columns.index(column), reader(name, column)) for column in NEEDED[name]
    ]
    for row in block.rows():
        values = []
        for column, at, read in columns:
            try:
                values.append(read(row[at]))
            except ValueError as error:
                raise block.lines.mangled(f"this is no {column} of {name}") from error
        yield values


def _check_all_there(folder: Path, tables: dict[str, _Table]) -> None:
    lacking = [name for name in NEEDED if name not in tables]
    if not lacking:
        return
    is_of_today = any(each.name.split(".")[-1] in _OTHER_NAMES for each in tables.values())
    names = [
        name.removeprefix(_PREFIX) if name in HOST and is_of_today else name for name in lacking
    ]
    commands = "; ".join(f"pg_restore -a -t {name} -f {folder / name} DUMP" for name in names)
    today = (
        f" Today's engine calls its tables without {_PREFIX}."
        if not is_of_today and set(lacking) & set(HOST)
        else ""
    )
    raise TrustError(
        f"no file in {folder} has the rows of {', '.join(names)}; nothing was verified. "
        f"Write them from the dump: {commands}.{today}"
    )


def _check_schemas(tables: dict[str, _Table]) -> None:
    for together in (OWN, HOST):
        found = sorted(
            (table for name, table in tables.items() if name in together),
            key=lambda table: table.schema,
        )
        first, last = found[0], found[-1]
        if first.schema != last.schema:
            raise TrustError(
                f"{last.where(1)}: rows of {last.name}, where those of {first.name} are in "
                f"{first.blocks[0][1]}; nothing was verified. They do not belong together: name "
                "the schema when you write them, pg_restore -a -n SCHEMA -t TABLE."
            )


def _check_keys(store: sqlite3.Connection, tables: dict[str, _Table]) -> None:
    for name, key in _KEYS.items():
        found = store.execute(
            f"SELECT min(rowid), max(rowid) FROM {name} GROUP BY {', '.join(key)} "
            "HAVING count(*) > 1 LIMIT 1"
        ).fetchone()
        if found:
            first, again = map(tables[name].where, found)
            raise TrustError(
                f"{again}: this row of {name} has the {' and '.join(key)} of {first}; nothing was "
                "verified. Is the table twice in the folder? If not, one of the two was put there, "
                "or the server let a key in twice: compare them, and verify an older dump."
            )
