"""Whether the functions in a schema are those of this release."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from step_audit.database import Connection, call
from step_audit.setup.sources import SourceFile, Sources

_SETTING = re.compile(r"^SET (\w+) (?:= '?(.*?)'?|FROM CURRENT)$", re.MULTILINE)
_ROUTINE = re.compile(
    r"^CREATE OR REPLACE (?:FUNCTION|PROCEDURE) \w+(?P<head>.*?)\nAS \$\$(?P<body>.*?)\$\$;$",
    re.M | re.S,
)
_SIGNATURE = re.compile(r"^COMMENT ON (?:FUNCTION|PROCEDURE) \w+ ?(\(.*?\)) IS$", re.M | re.S)


@dataclass(frozen=True)
class _Routine:
    """One of the routines that a file creates; ``arguments`` are their types, in parentheses."""

    name: str
    arguments: str
    head: str
    body: str


def find_altered_functions(conn: Connection, schema: str, sources: Sources) -> set[str]:
    """Paths of the functions that are missing from ``schema`` or not as in ``sources``.

    Bodies, settings and rights are compared here, as a function that was changed cannot be asked
    about itself; then the database compares the rest, by what it noted at the install.
    """
    found = {(row["name"], row["arguments"]): row for row in _list_functions(conn, schema, sources)}
    altered = {
        file.path
        for file in sources.functions
        for routine in _list_routines(file)
        if not _is_as_in(routine, found.get((routine.name, routine.arguments)))
    }
    if not altered:
        rows = call(conn, schema, "verify_step_audit_objects")
        altered = {
            file.path
            for row in rows
            for file in sources.functions
            if row["field"] == f"function {_name(file)}"
        }
    return altered


def list_overloads(conn: Connection, schema: str, sources: Sources) -> list[str]:
    """Functions in ``schema`` that have the name of one of ours and other arguments.

    A call of ours could reach them.
    """
    ours = [row["oid"] for row in _list_functions(conn, schema, sources)]
    names = [_name(file) for file in sources.functions]
    rows = conn.execute(
        """
        SELECT p.proname || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')' AS f
        FROM pg_catalog.pg_proc AS p
        JOIN pg_catalog.pg_namespace AS n ON p.pronamespace = n.oid
        WHERE n.nspname = %s AND p.proname = ANY(%s) AND p.oid <> ALL(%s)
        ORDER BY 1
        """,
        (schema, names, ours),
    )
    return [row["f"] for row in rows]


def _list_functions(conn: Connection, schema: str, sources: Sources) -> list[dict[str, Any]]:
    """The functions of the names and arguments of ours."""
    routines = [routine for file in sources.functions for routine in _list_routines(file)]
    return conn.execute(
        """
        SELECT
            ours.name,
            ours.arguments,
            p.oid,
            p.prosrc,
            p.prosecdef,
            coalesce(p.proconfig, '{}') AS settings,
            'search_path=' || pg_catalog.quote_ident(%(schema)s) || ', pg_temp' AS search_path
        FROM ROWS FROM (
            pg_catalog.unnest(%(names)s::pg_catalog.text[]),
            pg_catalog.unnest(%(arguments)s::pg_catalog.text[])
        ) AS ours (name, arguments)
        JOIN pg_catalog.pg_proc AS p ON p.oid = pg_catalog.to_regprocedure(
            pg_catalog.format('%%I.%%I%%s', %(schema)s::pg_catalog.text, ours.name, ours.arguments)
        )
        -- A body that is kept as a tree would be run instead of its text; none of ours is.
        WHERE pg_catalog.obj_description(p.oid, 'pg_proc') IS NOT NULL AND p.prosqlbody IS NULL
        """,
        {
            "schema": schema,
            "names": [routine.name for routine in routines],
            "arguments": [routine.arguments for routine in routines],
        },
    ).fetchall()


def _list_routines(file: SourceFile) -> list[_Routine]:
    """The routines of a file, which has one comment for each, in the same order."""
    created = list(_ROUTINE.finditer(file.text))
    signatures = _SIGNATURE.findall(file.text)
    assert created, file.path
    return [
        _Routine(_name(file), arguments, routine["head"], routine["body"])
        for routine, arguments in zip(created, signatures, strict=True)
    ]


def _is_as_in(routine: _Routine, found: dict[str, Any] | None) -> bool:
    if found is None:
        return False
    settings = [
        f"{name}={value}" if value else found["search_path"]
        for name, value in _SETTING.findall(routine.head)
    ]
    return (
        found["prosrc"] == routine.body
        # The server has its own upper and lower case in the names of settings.
        and sorted(map(str.lower, found["settings"])) == sorted(map(str.lower, settings))
        and found["prosecdef"] is ("\nSECURITY DEFINER\n" in routine.head)
    )


def _name(file: SourceFile) -> str:
    return PurePosixPath(file.path).stem
