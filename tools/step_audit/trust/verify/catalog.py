"""Who may lie: what the catalog says of tables, columns, keys, triggers, rights and shadows.

What is expected is told by this release, and not by the database; of two things only, which
tables are the engine's and the keys to them, the ledger tells what was chosen at the attach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from step_audit.database import Connection
from step_audit.setup.sources import Sources
from step_audit.trust.verify import relations, shadows
from step_audit.trust.verify.functions import examine_functions
from step_audit.trust.verify.planned import examine_planned
from step_audit.trust.verify.report import Finding
from step_audit.trust.verify.rights import examine_rights
from step_audit.trust.verify.surroundings import examine_surroundings
from step_audit.trust.verify.tables import Place


@dataclass(frozen=True)
class Examined:
    """What the catalog said, and how many objects were looked at."""

    findings: list[Finding]
    objects: int
    remarks: tuple[str, ...]


Check = Callable[[Connection, Place, Sources], "Iterator[Finding | str | int]"]

_CHECKS: tuple[Check, ...] = (
    examine_planned,
    relations.examine_tables,
    relations.examine_columns,
    relations.examine_triggers,
    relations.examine_keys,
    relations.examine_indexes,
    relations.examine_views,
    examine_functions,
    examine_rights,
    examine_surroundings,
    shadows.examine_shadows,
)


def examine_catalog(conn: Connection, place: Place, sources: Sources) -> Examined:
    """Look at all that could change evidence or how it is read, by plain catalog queries.

    Each check gives findings, remarks as text, and how many objects it has looked at.
    """
    findings: dict[tuple[str, str | None, str | None], Finding] = {}
    remarks: list[str] = []
    objects = 0
    for check in _CHECKS:
        for each in check(conn, place, sources):
            if isinstance(each, Finding):
                # A foreign object is told once, by who knows most of it: the first.
                about = None if each.finding == "foreign object" else each.stored
                findings.setdefault((each.finding, each.field, about), each)
            elif isinstance(each, str):
                remarks.append(each)
            else:
                objects += each
    return Examined(list(findings.values()), objects, tuple(remarks))
