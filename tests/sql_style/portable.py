"""Rules that let install and recording run through a Citus coordinator too."""

from __future__ import annotations

from typing import Any

from pglast import ast

from step_audit.setup.sources import SourceFile
from tests.sql_style.sql_tree import code, is_a, name_of, options, routines, walk

OUR_TABLES = {
    "step_audit_events",
    "step_audit_files",
    "step_audit_leaves",
    "step_audit_objects",
    "step_audit_salts",
    "step_audit_seals",
    "step_audit_subtrees",
    "tasker_workflow_step_result_audit",
    "tasker_workflow_step_result_audit_anomalies",
}


def ours_apart(file: SourceFile) -> list[str]:
    """What the install runs reads no table of ours in a query on other tables."""
    if not file.path.startswith("functions/host/"):
        return []
    faults = []
    for piece in code(file.text):
        if not is_a(piece.node, ast.SelectStmt, ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt):
            continue
        named = {n.ctename for n in walk(piece.node) if is_a(n, ast.CommonTableExpr)}
        read = {n.relname for n in walk(piece.node) if is_a(n, ast.RangeVar)} - named
        if read & OUR_TABLES and read - OUR_TABLES:
            faults.append(f"reads {', '.join(sorted(read))} together")
    return faults


def plain_inserts(file: SourceFile) -> list[str]:
    """A trigger's INSERT … SELECT reads tables alone: Citus changes one that calls functions."""
    if not any(_is_trigger_function(routine) for routine in routines(file.text)):
        return []
    return [
        f"inserts into {insert.relation.relname} from what a function gives"
        for piece in code(file.text)
        for insert in walk(piece.node)
        if is_a(insert, ast.InsertStmt)
        and insert.selectStmt
        and not insert.selectStmt.valuesLists
        and any(is_a(node, ast.RangeFunction, ast.FuncCall) for node in walk(insert.selectStmt))
    ]


def _is_trigger_function(routine: Any) -> bool:
    is_trigger = routine.returnType is not None and name_of(routine.returnType.names) == "trigger"
    return is_trigger and options(routine)["language"] == "plpgsql"
