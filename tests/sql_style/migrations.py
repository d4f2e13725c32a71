"""The house rules of migrations, which are frozen once they are released."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from pglast import ast, enums

from step_audit.setup.sources import SourceFile, Sources
from tests.sql_style.sql_tree import (
    called_functions,
    described,
    is_a,
    statements,
    tokens,
)

_NAMELESS = {
    enums.ConstrType.CONSTR_NULL,
    enums.ConstrType.CONSTR_NOTNULL,
    enums.ConstrType.CONSTR_DEFAULT,
    enums.ConstrType.CONSTR_IDENTITY,
    enums.ConstrType.CONSTR_GENERATED,
}


def no_hidden_drift(file: SourceFile) -> list[str]:
    """A migration creates what is not there: IF NOT EXISTS would accept something else."""
    names = [token.name for token in tokens(file.text)]
    return [
        "says IF NOT EXISTS"
        for position, name in enumerate(names)
        # In PL/pgSQL a condition may begin so, with a parenthesis after it.
        if name == "IF_P"
        and names[position + 1 : position + 3] == ["NOT", "EXISTS"]
        and names[position + 3] != "ASCII_40"
    ]


def no_concurrent_index(file: SourceFile) -> list[str]:
    """CREATE INDEX CONCURRENTLY cannot run in the install transaction."""
    return [
        "says CONCURRENTLY" for token in tokens(file.text) if token.text.upper() == "CONCURRENTLY"
    ]


def lonely_index(file: SourceFile) -> list[str]:
    """Citus refuses CREATE INDEX in a string of several statements, and a file goes as one."""
    parsed = statements(file.text)
    if len(parsed) > 1 and any(is_a(statement, ast.IndexStmt) for statement in parsed):
        return ["creates an index beside another statement"]
    return []


def unbroken_numbering(sources: Sources) -> list[str]:
    """Migrations are named NNNN_noun.sql and count from 0001."""
    faults = []
    numbers = [0]
    for file in sources.migrations:
        match = re.fullmatch(r"sql/(\d{4})(_[a-z0-9]+)+\.sql", file.path)
        if match:
            numbers.append(int(match[1]))
        else:
            faults.append(f"{file.path} is not named like sql/0001_noun.sql")
    faults += [f"{b:04} follows {a:04}" for a, b in pairwise(sorted(numbers)) if b != a + 1]
    return faults


def unique_names(sources: Sources) -> list[str]:
    """No two files have the same name, in whatever folder: it is the name in SQL."""
    names = Counter(file.name for file in sources.files)
    return [f"{name} names {count} files" for name, count in names.items() if count > 1]


def released_headers(sources: Sources) -> list[str]:
    """The first line of a migration names a release of the changelog, and the purpose."""
    return [
        f"{file.path} does not begin with '-- RELEASE: purpose'"
        for file in sources.migrations
        if not re.match(r"-- \d+\.\d+\.\d+: \S.*\n", file.text)
        or file.release not in sources.releases
    ]


def no_function_calls(sources: Sources) -> list[str]:
    """A frozen migration calls no function, which changes."""
    ours = {file.name for file in sources.functions}
    return [
        f"{file.path} calls {name}"
        for file in sources.migrations
        for name in called_functions(file.text)
        if name.split(".")[-1] in ours
    ]


def commented_objects(sources: Sources) -> list[str]:
    """Each table, column, index and constraint that migrations create has a name and a comment."""
    parsed = [s for file in sources.migrations for s in statements(file.text)]
    comments = {described(s.object) for s in parsed if is_a(s, ast.CommentStmt)}
    return [
        f"{name} has no comment" for s in parsed for name in _created(s) if name not in comments
    ]


def _created(statement: Any) -> Iterator[str]:
    if is_a(statement, ast.CreateStmt):
        table = statement.relation.relname
        yield table
        for element in statement.tableElts or ():
            yield from _created_in(table, element)
    elif is_a(statement, ast.AlterTableStmt):
        for command in statement.cmds:
            yield from _created_in(statement.relation.relname, command.def_)
    elif is_a(statement, ast.IndexStmt):
        yield statement.idxname or f"an index on {statement.relation.relname}"
    elif is_a(statement, ast.CompositeTypeStmt):
        yield statement.typevar.relname
    elif is_a(statement, ast.ViewStmt):
        yield statement.view.relname
    elif is_a(statement, ast.CreateTrigStmt):
        yield f"{statement.relation.relname}.{statement.trigname}"


def _created_in(table: str, element: Any) -> Iterator[str]:
    if is_a(element, ast.ColumnDef):
        if element.typeName:  # else it is ALTER COLUMN
            yield f"{table}.{element.colname}"
        for constraint in element.constraints or ():
            yield from _created_in(table, constraint)
    elif is_a(element, ast.Constraint) and element.contype not in _NAMELESS:
        kind = element.contype.name.removeprefix("CONSTR_").lower()
        yield f"{table}.{element.conname or f'({kind} constraint without a name)'}"
