"""The house rules of SQL that a linter does not know, each a function from a file to its faults.

A fault is a sentence about the file. ``FUNCTION_RULES`` hold for each file of ``functions/``,
``MIGRATION_RULES`` for each of ``sql/``, ``RELEASE_RULES`` for all of them together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any

from pglast import ast, enums, parse_sql
from pglast.parser import ParseError

from step_audit.setup.sources import SourceFile, Sources
from tests.sql_style.casts import guarded_casts
from tests.sql_style.migrations import (
    commented_objects,
    lonely_index,
    no_concurrent_index,
    no_function_calls,
    no_hidden_drift,
    released_headers,
    unbroken_numbering,
    unique_names,
)
from tests.sql_style.portable import ours_apart, plain_inserts
from tests.sql_style.sql_tree import (
    RESULT_MODES,
    called_functions,
    code,
    described,
    expression,
    is_a,
    name_of,
    options,
    plpgsql,
    plpgsql_trees,
    routines,
    settings,
    signature,
    statements,
    tokens,
    walk,
)

_ROUTINES = {
    enums.ObjectType.OBJECT_FUNCTION,
    enums.ObjectType.OBJECT_PROCEDURE,
    enums.ObjectType.OBJECT_ROUTINE,
}

# What the planner puts into the query of its callers, which a SET clause would forbid. It qualifies
# what it calls; what reads tables does not: its callers' search_path finds all that it names.
INLINED = {
    "commit_step_audit_payload",
    "commit_step_audit_version",
    "draw_step_audit_salt",
    "format_step_audit_change",
    "format_step_audit_event",
    "format_step_audit_leaf",
    "get_operator_action",
    "get_utc_time",
    "hash_step_audit_leaf",
    "is_engine_event",
    "is_step_audit_uncovered",
    "is_worker_result",
    "protect_json_escapes",
    "restore_json_escapes",
}


def one_name_per_file(file: SourceFile) -> list[str]:
    """The file replaces all routines of its name, comments each, and does nothing else."""
    stem = PurePosixPath(file.path).stem
    found = routines(file.text)
    if not found:
        return ["creates no routine"]
    faults = []
    for routine in found:
        if name_of(routine.funcname) != stem:
            faults.append(f"creates {name_of(routine.funcname)}, not {stem}")
        if not routine.replace:
            faults.append("does not say OR REPLACE")
    comments = [
        described(s.object)
        for s in statements(file.text)
        if is_a(s, ast.CommentStmt) and s.objtype in _ROUTINES
    ]
    # In the order of the routines, by which the two are brought together.
    if comments != [signature(routine) for routine in found]:
        faults += [
            f"has no one comment on {signature(routine)} in its place"
            for number, routine in enumerate(found)
            if comments[number : number + 1] != [signature(routine)]
        ] or ["has more comments than routines"]
    position = statements(file.text).index(found[0])
    for number, statement in enumerate(statements(file.text)):
        is_drop = is_a(statement, ast.DropStmt) and number < position
        if not (is_drop or _is_about(statement, stem)):
            faults.append(f"holds a {type(statement).__name__} that is not about {stem}")
        if is_drop and not (
            statement.removeType in _ROUTINES
            and statement.missing_ok
            and [name_of(o.objname) for o in statement.objects] == [stem]
        ):
            faults.append(f"drops something else than an old {stem} IF EXISTS")
    return faults


def pinned_search_path(file: SourceFile) -> list[str]:
    """No caller's search_path diverts the routine; one that commits qualifies all it names."""
    faults = []
    for routine in routines(file.text):
        if _commits(file):
            faults += [f"commits, and {fault}" for fault in _unqualified(file)]
            if settings(routine):
                faults.append("commits, which a SET clause forbids")
        elif name_of(routine.funcname) in INLINED:
            faults += _reasons_against_inlining(routine)
            if not _reads_tables(file):
                faults += [f"is inlined, and {fault}" for fault in _unqualified(file)]
        elif not _is_pinned(routine):
            faults.append("does not pin its search_path")
        if not _is_pinned(routine):
            faults += [
                f"calls {called}, but pins no search_path for it"
                for called in called_functions(file.text)
                if called in INLINED
            ]
    return faults


def text_bodies(file: SourceFile) -> list[str]:
    """A body is text, which the catalog keeps as it is: then the two can be compared."""
    return [
        f"gives {signature(routine)} a body that the catalog does not keep as text"
        for routine in routines(file.text)
        if routine.sql_body
    ]


def confined_security_definer(file: SourceFile) -> list[str]:
    """What runs with its owner's rights is pinned, and PUBLIC may not execute it."""
    faults = []
    for routine in routines(file.text):
        if "security" not in options(routine) or not options(routine)["security"].boolval:
            continue
        if not _is_pinned(routine):
            faults.append("is SECURITY DEFINER without SET search_path FROM CURRENT")
        if signature(routine) not in _revoked_from_public(file):
            faults.append("is SECURITY DEFINER but PUBLIC may execute it")
    return faults


def stated_volatility(file: SourceFile) -> list[str]:
    """A function says how volatile it is."""
    return [
        "does not state its volatility"
        for routine in routines(file.text)
        if not routine.is_procedure and "volatility" not in options(routine)
    ]


def no_parallel_guards(file: SourceFile) -> list[str]:
    """An EXCEPTION clause starts a subtransaction, which fails in a parallel query before 17."""
    has_guard = any(i.kind == "PLpgSQL_exception" for i in plpgsql(file.text))
    return [
        f"has an EXCEPTION clause and is PARALLEL {options(routine)['parallel'].upper()}"
        for routine in routines(file.text)
        if has_guard and options(routine).get("parallel", "unsafe") != "unsafe"
    ]


def named_conditions(file: SourceFile) -> list[str]:
    """A handler names its conditions: WHEN OTHERS would hide our own bugs."""
    return [
        "handles WHEN OTHERS"
        for item in plpgsql(file.text)
        if item.kind == "PLpgSQL_condition" and item.fields["condname"] == "others"
    ]


def escaped_backslashes(file: SourceFile) -> list[str]:
    """A constant with a backslash is an E'' string: any standard_conforming_strings will do."""
    return [
        f"has a backslash in {token.text}"
        for token in tokens(file.text)
        if token.name in {"SCONST", "USCONST"}
        and token.text[0] not in "$eE"
        and ("\\" in token.text or token.name == "USCONST")
    ]


def typed_json_keys(file: SourceFile) -> list[str]:
    """The key of a JSON operator has its type, so that no operator of a stranger fits better."""
    code = [token for token in tokens(file.text) if "COMMENT" not in token.name]
    return [
        f"takes {key.text} out of JSON without its type"
        for operator, key, behind in zip(code, code[1:], code[2:], strict=False)
        if operator.text in {"->", "->>", "#>", "#>>"}
        and key.name == "SCONST"
        and behind.text != "::"
    ]


def ascii_text(file: SourceFile) -> list[str]:
    """The file is ASCII, comments too: a database of any encoding can take it."""
    return [f"has {mark!r}" for mark in sorted(set(file.text)) if not mark.isascii()]


def prefixed_variables(file: SourceFile) -> list[str]:
    """Parameters are p_…, local variables v_…; results are named as the caller sees them."""
    parameters = [
        p.name or "(no name)"
        for routine in routines(file.text)
        for p in routine.parameters or ()
        if p.mode not in RESULT_MODES
    ]
    # Of what PL/pgSQL lists, the code declares what has a line, but for the handlers' own.
    variables = [
        datum["refname"]
        for tree in plpgsql_trees(file.text)
        for member in tree["PLpgSQL_function"]["datums"]
        for datum in member.values()
        if "lineno" in datum
        and datum["refname"] not in {"sqlstate", "sqlerrm"}
        and not datum["refname"].startswith(("(", "__"))
    ]
    return [f"names a parameter {p}" for p in parameters if not p.startswith("p_")] + [
        f"names a variable {v}" for v in variables if not v.startswith("v_")
    ]


def formatted_dynamic_sql(file: SourceFile) -> list[str]:
    """Dynamic SQL is made by format() from a constant."""
    return [
        f"executes {fields['query']}"
        for fields in _dynamic_sql(file)
        if _template(expression(fields)) is None
    ]


def usage_in_header(file: SourceFile) -> list[str]:
    """The file opens with a comment, which shows a call to paste unless a trigger calls it."""
    if not file.text.startswith("-- "):
        return ["does not begin with a comment"]
    header = re.match(r"(--.*\n)+", file.text)
    examples = re.findall(r"^-- {5}((?:SELECT|CALL)\b.*)$", header[0] if header else "", re.M)
    faults = []
    for example in examples:
        try:
            parse_sql(example)
        except ParseError as error:
            faults.append(f"shows a call that does not parse ({error.args[0]}): {example}")
    stem = PurePosixPath(file.path).stem
    is_trigger = any(_is_trigger_function(routine) for routine in routines(file.text))
    if not is_trigger and not any(f"{stem}(" in example for example in examples):
        faults.append(f"shows no call of {stem} in its opening comment")
    return faults


_CODE_RULES: tuple[Callable[[SourceFile], list[str]], ...] = (
    guarded_casts,
    named_conditions,
    escaped_backslashes,
    typed_json_keys,
    ascii_text,
    prefixed_variables,
    formatted_dynamic_sql,
)
FUNCTION_RULES = (
    one_name_per_file,
    pinned_search_path,
    text_bodies,
    confined_security_definer,
    stated_volatility,
    no_parallel_guards,
    usage_in_header,
    ours_apart,
    plain_inserts,
    *_CODE_RULES,
)
MIGRATION_RULES = (no_hidden_drift, no_concurrent_index, lonely_index, *_CODE_RULES)
RELEASE_RULES = (
    unbroken_numbering,
    unique_names,
    released_headers,
    no_function_calls,
    commented_objects,
)


def faults_of(file: SourceFile) -> list[str]:
    """What a file's rules find, each with the rule's name."""
    rules = MIGRATION_RULES if file.is_migration else FUNCTION_RULES
    return [f"{rule.__name__}: {fault}" for rule in rules for fault in rule(file)]


def faults_of_release(sources: Sources) -> list[str]:
    """What the rules for all files together find, each with the rule's name."""
    return [f"{rule.__name__}: {fault}" for rule in RELEASE_RULES for fault in rule(sources)]


def _is_about(statement: Any, stem: str) -> bool:
    if is_a(statement, ast.CreateFunctionStmt):
        return True
    if is_a(statement, ast.CommentStmt):
        return statement.objtype in _ROUTINES and name_of(statement.object.objname) == stem
    return is_a(statement, ast.GrantStmt) and {
        name_of(o.objname) for o in statement.objects if is_a(o, ast.ObjectWithArgs)
    } == {stem}


def _is_pinned(routine: Any) -> bool:
    return any(
        s.name == "search_path" and s.kind == enums.VariableSetKind.VAR_SET_CURRENT
        for s in settings(routine)
    )


def _reasons_against_inlining(routine: Any) -> list[str]:
    found = options(routine)
    faults = []
    if found["language"] != "sql" or settings(routine) or "security" in found:
        faults.append("is not inlined, as plain SQL without SET would be")
    # What gives rows is a query of its own where it is volatile.
    if routine.returnType.setof and found.get("volatility") != "stable":
        faults.append("is not put into the query of its callers, as STABLE SQL would be")
    return faults


def _reads_tables(file: SourceFile) -> bool:
    return any(is_a(node, ast.RangeVar) for piece in code(file.text) for node in walk(piece.node))


def _is_trigger_function(routine: Any) -> bool:
    return routine.returnType is not None and name_of(routine.returnType.names) == "trigger"


def _commits(file: SourceFile) -> bool:
    return any(
        i.kind in {"PLpgSQL_stmt_commit", "PLpgSQL_stmt_rollback"} for i in plpgsql(file.text)
    )


def _unqualified(file: SourceFile) -> Iterator[str]:
    for name in called_functions(file.text):
        if not name.startswith("pg_catalog."):
            yield f"calls {name} without its schema"
    for piece in code(file.text):
        for node in walk(piece.node):
            if is_a(node, ast.RangeVar) and not node.schemaname:
                yield f"reads {node.relname} without its schema"
    for fields in _dynamic_sql(file):
        for name in re.findall(r"([^\s(]+)\(", _template(expression(fields)) or ""):
            if "." not in name:
                yield f"executes {name} without its schema"


def _dynamic_sql(file: SourceFile) -> list[dict[str, Any]]:
    return [
        item.fields[part]["PLpgSQL_expr"]
        for item in plpgsql(file.text)
        for part in ("query", "dynquery")
        if part == "dynquery" or item.kind in {"PLpgSQL_stmt_dynexecute", "PLpgSQL_stmt_dynfors"}
        if part in item.fields
    ]


def _template(node: Any) -> str | None:
    """The constant of a call of format() that the node is, None if it is something else."""
    if is_a(node, ast.FuncCall) and name_of(node.funcname).split(".")[-1] == "format":
        first = node.args[0]
        if is_a(first, ast.A_Const) and is_a(first.val, ast.String):
            return str(first.val.sval)
    return None


def _revoked_from_public(file: SourceFile) -> set[str]:
    return {
        described(target)
        for s in statements(file.text)
        if is_a(s, ast.GrantStmt) and not s.is_grant
        if any(g.roletype == enums.RoleSpecType.ROLESPEC_PUBLIC for g in s.grantees)
        for target in s.objects
    }
