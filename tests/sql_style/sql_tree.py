"""SQL text as trees: statements, the code inside functions and DO blocks, and tokens.

pglast gives PL/pgSQL as JSON whose expressions are text; here they are parsed too, each with the
conditions that the EXCEPTION clauses around it handle.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pglast import ast, enums, parse_plpgsql, parse_sql
from pglast.parser import scan
from pglast.stream import RawStream

RESULT_MODES = {
    enums.FunctionParameterMode.FUNC_PARAM_OUT,
    enums.FunctionParameterMode.FUNC_PARAM_TABLE,
}

_BLOCK = "PLpgSQL_stmt_block"
_ASSIGNMENTS = range(3, 6)  # the parser's modes of "target := expression"
_EXPRESSION = 2


@dataclass(frozen=True)
class Code:
    """A parsed piece of SQL, and the conditions that are handled where it stands."""

    node: Any
    handled: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Item:
    """A node of a PL/pgSQL tree, and the conditions that are handled where it stands."""

    kind: str
    fields: dict[str, Any]
    handled: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Token:
    """A token of the scanner with its text."""

    name: str
    text: str


def is_a(node: Any, *kinds: type) -> bool:
    """Like isinstance(), but the node stays Any: each member of pglast's classes may be None."""
    return isinstance(node, kinds)


@lru_cache(maxsize=256)
def statements(text: str) -> tuple[Any, ...]:
    """The statements of a file."""
    return tuple(raw.stmt for raw in parse_sql(text))


def routines(text: str) -> list[Any]:
    """The CREATE FUNCTION and CREATE PROCEDURE statements of a file."""
    return [s for s in statements(text) if is_a(s, ast.CreateFunctionStmt)]


def options(routine: Any) -> dict[str, Any]:
    """The options of a routine but SET, by name; a one-word value as that word."""
    return {o.defname: getattr(o.arg, "sval", o.arg) for o in routine.options if o.defname != "set"}


def settings(routine: Any) -> list[Any]:
    """The SET clauses of a routine."""
    return [o.arg for o in routine.options if o.defname == "set"]


def code(text: str) -> list[Code]:
    """All SQL of a file: its statements, and those inside functions and DO blocks."""
    found = [Code(statement) for statement in statements(text)]
    for routine in routines(text):
        if options(routine)["language"] == "sql" and "as" in options(routine):
            found += [Code(s) for s in statements(options(routine)["as"][0].sval)]
    for item in plpgsql(text):
        if item.kind == "PLpgSQL_expr":
            found += [Code(s, item.handled) for s in _statements_of(item.fields)]
    return found


def plpgsql(text: str) -> list[Item]:
    """The nodes of all PL/pgSQL in a file, those of DO blocks included."""
    return [item for tree in plpgsql_trees(text) for item in plpgsql_items(tree)]


def plpgsql_items(tree: Any, handled: frozenset[str] = frozenset()) -> Iterator[Item]:
    """The nodes of a PL/pgSQL tree, those around others first."""
    if isinstance(tree, list):
        for member in tree:
            yield from plpgsql_items(member, handled)
    elif isinstance(tree, dict):
        for kind, fields in tree.items():
            if kind.startswith("PLpgSQL_"):
                yield Item(kind, fields, handled)
            if kind == _BLOCK:
                # A handler is not protected by the clause that it stands in.
                yield from plpgsql_items(fields.get("exceptions"), handled)
                yield from plpgsql_items(fields.get("body"), handled | _conditions(fields))
            else:
                yield from plpgsql_items(fields, handled)


@lru_cache(maxsize=256)
def plpgsql_trees(text: str) -> tuple[dict[str, Any], ...]:
    """The PL/pgSQL trees of a file, one per function or DO block."""
    trees = []
    raw: Any
    for raw in parse_sql(text):
        start, length = raw.stmt_location, raw.stmt_len
        is_plpgsql = is_a(raw.stmt, ast.DoStmt) or (
            is_a(raw.stmt, ast.CreateFunctionStmt) and options(raw.stmt)["language"] == "plpgsql"
        )
        if is_plpgsql:
            trees += parse_plpgsql(text[start : start + length if length else None])
    return tuple(trees)


def expression(fields: dict[str, Any]) -> Any:
    """The tree of a PL/pgSQL expression, for an assignment that of its right side."""
    return _statements_of(fields)[0].targetList[0].val


def walk(node: Any) -> Iterator[Any]:
    """A tree's nodes, parents first."""
    if isinstance(node, tuple):
        for member in node:
            yield from walk(member)
    elif is_a(node, ast.Node):
        yield node
        for name in node:
            yield from walk(getattr(node, name))


def name_of(strings: Any) -> str:
    """A possibly qualified name, with dots."""
    return ".".join(getattr(part, "sval", "*") for part in strings)


def tokens(text: str) -> Iterator[Token]:
    """The tokens of a file, and after a dollar-quoted string those inside it."""
    for token in scan(text):
        found = Token(token.name, text[token.start : token.end + 1])
        yield found
        if found.name == "SCONST" and found.text.startswith("$"):
            tag = found.text[: found.text.index("$", 1) + 1]
            yield from tokens(found.text.removeprefix(tag).removesuffix(tag))


def called_functions(text: str) -> list[str]:
    """Names of the functions that a file calls, inside bodies too."""
    return [
        name_of(node.funcname)
        for piece in code(text)
        for node in walk(piece.node)
        if is_a(node, ast.FuncCall)
    ]


def signature(routine: Any) -> str:
    """Name and input types of a routine, as COMMENT and REVOKE give them."""
    arguments = [p.argType for p in routine.parameters or () if p.mode not in RESULT_MODES]
    return f"{name_of(routine.funcname)}({_types(arguments)})"


def described(target: Any) -> str:
    """What COMMENT, GRANT or REVOKE names: a routine with its types, else a dotted name."""
    if is_a(target, ast.ObjectWithArgs):
        return f"{name_of(target.objname)}({_types(target.objargs)})"
    return name_of(target) if isinstance(target, tuple) else RawStream()(target)


def _conditions(block: dict[str, Any]) -> frozenset[str]:
    return frozenset(
        item.fields["condname"]
        for item in plpgsql_items(block.get("exceptions"))
        if item.kind == "PLpgSQL_condition"
    )


def _statements_of(fields: dict[str, Any]) -> tuple[Any, ...]:
    query, mode = fields["query"], fields["parseMode"]
    if mode in _ASSIGNMENTS:
        assign = next(t for t in scan(query) if t.name in {"COLON_EQUALS", "ASCII_61"})
        query = query[assign.end + 1 :]
    return statements(f"SELECT {query}" if mode == _EXPRESSION or mode in _ASSIGNMENTS else query)


def _types(names: Any) -> str:
    return ", ".join(RawStream()(name) for name in names or ())
