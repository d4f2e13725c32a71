"""Whether the functions in a schema are those of this release."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath
from typing import Any

from step_audit.database import Connection, call
from step_audit.setup.sources import SourceFile, Sources

# An SQL-standard body is kept as a tree, not as text: SHA-256 of how any server writes it.
BOUND_BODIES = {
    "format_step_audit_leaf": "8da313cc612ec0e58277682b8c4ff7c519f7a43e50821bd76786156811737210",
    "generate_step_audit_uuid": "e968334f1a608ffc6731d7a43d2f78a40e587924f7d135599ca909bef9603a90",
    "is_worker_result": "048e1fbdf1f32c088ccfc4dca0aecaa5c441a50baf1b532eb9412849a035e7be",
    "protect_json_escapes": "f34f9c447d3f83d28969e93a6743db0d2b57ef9f65c6a924bfcbcfabb47b98e7",
    "restore_json_escapes": "03e699b414a14584bf886c822266890d6c1e1f1117ed45230e9645baa1fa5c03",
}

_SETTING = re.compile(r"^SET (\w+) (?:= '?(.*?)'?|FROM CURRENT)$", re.MULTILINE)
_SIGNATURE = re.compile(r"^COMMENT ON (?:FUNCTION|PROCEDURE) \w+ ?(\(.*?\)) IS$", re.M | re.S)


def find_altered_functions(conn: Connection, schema: str, sources: Sources) -> set[str]:
    """Paths of the functions that are missing from ``schema`` or not as in ``sources``.

    Bodies, settings and rights are compared here, as a function that was changed cannot be asked
    about itself; then the database compares the rest, by what it noted at the install.
    """
    found = {row["name"]: row for row in _list_functions(conn, schema, sources)}
    altered = {
        file.path for file in sources.functions if not _is_as_in(file, found.get(_name(file)))
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
    signatures = {}
    for file in sources.functions:
        signature = _SIGNATURE.search(file.text)
        assert signature, file.path
        signatures[_name(file)] = signature[1]
    return conn.execute(
        """
        SELECT
            ours.name,
            p.oid,
            p.prosrc,
            pg_catalog.pg_get_function_sqlbody(p.oid) AS bound_body,
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
        WHERE pg_catalog.obj_description(p.oid, 'pg_proc') IS NOT NULL
        """,
        {
            "schema": schema,
            "names": list(signatures),
            "arguments": list(signatures.values()),
        },
    ).fetchall()


def _is_as_in(file: SourceFile, found: dict[str, Any] | None) -> bool:
    if found is None:
        return False
    head, _, body = file.text.partition("\nAS $$")
    settings = [
        f"{name}={value}" if value else found["search_path"]
        for name, value in _SETTING.findall(head)
    ]
    if body:
        same_body = bool(found["prosrc"]) and body.startswith(f"{found['prosrc']}$$")
    else:
        text = (found["bound_body"] or "").encode()
        same_body = hashlib.sha256(text).hexdigest() == BOUND_BODIES[_name(file)]
    return (
        same_body
        # The server has its own upper and lower case in the names of settings.
        and sorted(map(str.lower, found["settings"])) == sorted(map(str.lower, settings))
        and found["prosecdef"] is ("\nSECURITY DEFINER\n" in head)
    )


def _name(file: SourceFile) -> str:
    return PurePosixPath(file.path).stem
