"""Whether the functions in a schema are those of this release."""

from __future__ import annotations

from pathlib import PurePosixPath

from step_audit.database import Connection, call
from step_audit.sources import Sources


def find_altered_functions(conn: Connection, schema: str, sources: Sources) -> set[str]:
    """Paths of the functions that are missing from ``schema`` or not as in ``sources``.

    Bodies are compared here, as a function that was changed cannot be asked about itself; then the
    database compares the rest, such as SECURITY DEFINER and settings.
    """
    rows = conn.execute(
        """
        SELECT p.proname, p.prosrc FROM pg_catalog.pg_proc AS p
        JOIN pg_catalog.pg_namespace AS n ON p.pronamespace = n.oid
        WHERE n.nspname = %s AND pg_catalog.obj_description(p.oid, 'pg_proc') IS NOT NULL
        """,
        (schema,),
    )
    bodies = {row["proname"]: row["prosrc"] for row in rows}
    altered = {
        file.path
        for file in sources.functions
        # An SQL-standard body is kept as a tree, not as text.
        if (body := bodies.get(PurePosixPath(file.path).stem)) is None
        or (body and f"$${body}$$" not in file.text)
    }
    if not altered:
        found = call(conn, schema, "verify_step_audit_objects")
        altered = {
            f"functions/{row['field'].removeprefix('function ')}.sql"
            for row in found
            if row["field"].startswith("function ")
        }
    return altered
