"""The rule that no content of a transition may raise: what reads it is guarded.

A piece of code converts content where a cast, an assignment or a column definition turns text of
the user's into a type whose input can fail, or where a json operator prints a value, which may be
too large as text. In a function that is given content (a json or jsonb parameter, an event or JSON
as text, or the row of a trigger) every variable and column counts as content, elsewhere what a json
operator or the column ``metadata`` gives. A guard is a block whose EXCEPTION clause names the
conditions that this type's input raises; what a declaration computes is never in a guard.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pglast import ast

from step_audit.setup.sources import SourceFile
from tests.sql_style.sql_tree import (
    RESULT_MODES,
    code,
    expression,
    is_a,
    name_of,
    plpgsql_items,
    plpgsql_trees,
    routines,
    walk,
)

_JSON_OPERATORS = {"->", "->>", "#>", "#>>"}
_TEXT_OPERATORS = {"->>", "#>>"}
_JSON = {"json", "jsonb"}
_CONTENT = {"p_event", "p_json"}
# Any text is one of these; and what names an object of the database is no content.
_SAFE = {"text", "varchar", "bpchar", "name", "char", "record", "trigger"}

# What a value is converted to where it is printed.
_PRINTED = "text by an operator"

_SYNTAX = frozenset({"invalid_text_representation"})
_RANGE = frozenset({"numeric_value_out_of_range"})
_DEPTH = frozenset({"statement_too_complex"})
_SIZE = frozenset({"program_limit_exceeded", "out_of_memory", "internal_error"})
_TIME = frozenset({"invalid_datetime_format", "datetime_field_overflow"})
_RAISED = {
    _PRINTED: _SIZE,
    "json": _SYNTAX | _DEPTH | _SIZE,
    "jsonb": _SYNTAX
    | _DEPTH
    | _SIZE
    | _RANGE
    | {"untranslatable_character", "feature_not_supported"},
    **dict.fromkeys(("int2", "int4", "int8", "numeric", "float4", "float8"), _SYNTAX | _RANGE),
    **dict.fromkeys(("date", "time", "timetz", "timestamp", "timestamptz"), _TIME),
    "interval": _TIME | {"interval_field_overflow"},
}


def guarded_casts(file: SourceFile) -> list[str]:
    """Content is converted only inside a guard that handles what the conversion can raise."""
    given = _is_given_content(file.text)
    faults = []
    for piece in code(file.text):
        for node in walk(piece.node):
            for type_name, operand in _conversions(node):
                if _is_content(operand, given):
                    faults += _missing(type_name, piece.handled)
    for type_name, handled in _assignments(file.text):
        faults += _missing(type_name, handled)
    return faults


def _conversions(node: Any) -> Iterator[tuple[str, Any]]:
    if is_a(node, ast.TypeCast):
        yield _type(node.typeName), node.arg
    elif is_a(node, ast.RangeFunction):
        for column in node.coldeflist or ():
            yield _type(column.typeName), node.functions
    elif is_a(node, ast.A_Expr) and name_of(node.name) in _TEXT_OPERATORS:
        yield _PRINTED, node.lexpr


def _assignments(text: str) -> Iterator[tuple[str, frozenset[str]]]:
    """Types of the variables that are given text without a cast, and what is handled there."""
    for tree in plpgsql_trees(text):
        datums = [next(iter(d.values())) for d in tree["PLpgSQL_function"]["datums"]]
        texts = {d["refname"] for d in datums if _datum_type(d) == "text"}
        for datum in datums:
            if "default_val" in datum and _is_text(datum["default_val"], texts):
                yield _datum_type(datum), frozenset()
        for item in plpgsql_items(tree):
            if item.kind == "PLpgSQL_stmt_assign" and _is_text(item.fields["expr"], texts):
                yield _datum_type(datums[item.fields["varno"]]), item.handled


def _missing(type_name: str, handled: frozenset[str]) -> list[str]:
    if type_name in _SAFE or type_name.startswith("reg"):
        return []
    missing = _RAISED.get(type_name, _SYNTAX) - handled
    if not missing:
        return []
    return [f"reads content as {type_name} without a guard against {', '.join(sorted(missing))}"]


def _is_given_content(text: str) -> bool:
    return any(
        (routine.returnType is not None and _type(routine.returnType) == "trigger")
        or any(
            _type(p.argType) in _JSON or p.name in _CONTENT
            for p in routine.parameters or ()
            if p.mode not in RESULT_MODES
        )
        for routine in routines(text)
    )


def _is_content(operand: Any, given: bool) -> bool:
    for node in walk(operand):
        if is_a(node, ast.ColumnRef) and (given or name_of(node.fields[-1:]) == "metadata"):
            return True
        if is_a(node, ast.A_Expr) and name_of(node.name) in _JSON_OPERATORS:
            return True
    return False


def _is_text(fields: dict[str, Any], texts: set[str]) -> bool:
    """Whether an expression is a text variable, or a json operator that gives text."""
    node = expression(fields["PLpgSQL_expr"])
    if is_a(node, ast.ColumnRef):
        return name_of(node.fields) in texts
    return is_a(node, ast.A_Expr) and name_of(node.name) in _TEXT_OPERATORS


def _datum_type(datum: dict[str, Any]) -> str:
    """The type of a variable; a record has none."""
    described = datum.get("datatype", {"PLpgSQL_type": {"typname": "record"}})
    return str(described["PLpgSQL_type"]["typname"]).split(".")[-1]


def _type(type_name: Any) -> str:
    return name_of(type_name.names[-1:]) + ("[]" if type_name.arrayBounds else "")
