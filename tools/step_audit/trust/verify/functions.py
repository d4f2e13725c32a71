"""Our functions are as the files of this release make them, and have no namesakes."""

from __future__ import annotations

from collections.abc import Iterator

from step_audit.database import Connection
from step_audit.setup.machinery import Namesake, compare_functions
from step_audit.setup.sources import Sources
from step_audit.trust.verify.report import Finding
from step_audit.trust.verify.tables import Place


def examine_functions(
    conn: Connection, place: Place, sources: Sources
) -> Iterator[Finding | str | int]:
    """Each function of this release is there, as its file makes it, and has no namesake."""
    told = set()
    for each in compare_functions(conn, place.schema, sources):
        if isinstance(each, Namesake):
            yield Finding("foreign object", field=f"function {each.signature}")
            continue
        yield 1
        if each.name in told or (each.is_there and not each.differences):
            continue
        told.add(each.name)
        kind, stored = (
            ("altered object", f"altered: {', '.join(each.differences)}")
            if each.is_there
            else ("missing object", "gone")
        )
        yield Finding(kind, field=f"function {each.name}", stored=stored)
