"""Verify: is each result audited, is each record as it was sealed, is the machinery untouched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from uuid import UUID

from step_audit.database import Connection, call
from step_audit.errors import NotInstalledError, RefusedError
from step_audit.machinery import find_altered_functions
from step_audit.sources import load_sources

if TYPE_CHECKING:
    from step_audit.trust.checkpoint import Checkpoint

# Leaves verified by one query: a subtree of the second height.
_TOGETHER = 65536


@dataclass(frozen=True)
class Finding:
    """What is not as it should be.

    ``finding`` is its kind: missing, extra, mismatch; altered, deleted or inserted record, missing
    or unsealed leaf, altered log, truncated log, rewritten log; missing, altered or foreign object.
    """

    finding: str
    workflow_step_transition_uuid: UUID | None = None
    workflow_step_result_audit_uuid: UUID | None = None
    field: str | None = None
    stored: str | None = None
    expected: str | None = None

    def __str__(self) -> str:
        parts = [self.finding]
        if self.workflow_step_result_audit_uuid:
            parts.append(f"audit {self.workflow_step_result_audit_uuid}")
        if self.workflow_step_transition_uuid:
            parts.append(f"transition {self.workflow_step_transition_uuid}")
        if self.field:
            parts.append(self.field)
        if self.stored is not None or self.expected is not None:
            stored, expected = self.stored or "nothing", self.expected or "nothing"
            parts.append(f"is {stored}, should be {expected}")
        return ": ".join(parts)

    def to_dict(self) -> dict[str, str | None]:
        """The finding as JSON has it."""
        return {name: None if v is None else str(v) for name, v in asdict(self).items()}


def verify_machinery(conn: Connection, schema: str) -> Iterator[Finding]:
    """Find functions that are not those of this release.

    Raises:
        NotInstalledError: nothing is installed.
        RefusedError: another release is installed.
    """
    sources = load_sources()
    health = call(conn, schema, "get_step_audit_health")
    release = health[0]["release"] if health else None
    if release is None:
        raise NotInstalledError(schema)
    if release != sources.release:
        raise RefusedError(
            f"the database has step-audit {release}, this command is {sources.release}, so it "
            "cannot tell what should be there. Verify with that release, or install this one."
        )
    for path in sorted(find_altered_functions(conn, schema, sources)):
        yield Finding("altered object", field=f"function {PurePosixPath(path).stem}")


def verify_completeness(
    conn: Connection, schema: str, since: datetime | None = None, until: datetime | None = None
) -> Iterator[Finding]:
    """Compare results and audit rows both ways, and the machinery with what it should be."""
    with conn.transaction():
        rows = call(conn, schema, "verify_step_result_audit", p_from=since, p_until=until)
    for row in rows:
        yield Finding(**row)


def verify_log(conn: Connection, schema: str, first: int = 0) -> Iterator[Finding]:
    """Compute the sealed log anew from leaf ``first`` on, and compare."""
    (head,) = call(conn, schema, "get_step_audit_tree_head")
    for start in range(first // _TOGETHER * _TOGETHER, head["tree_size"], _TOGETHER):
        end = min(start + _TOGETHER, head["tree_size"])
        rows = call(
            conn, schema, "verify_step_audit_log", p_first=max(start, first), p_until=end
        )
        yield from (Finding(**row) for row in rows)
    for row in call(conn, schema, "verify_step_audit_seals", p_since=first):
        yield Finding(**row)


def verify_checkpoint(conn: Connection, schema: str, checkpoint: Checkpoint) -> Iterator[Finding]:
    """Whether the log has the root that was signed when it was as long as the checkpoint says."""
    heads = call(conn, schema, "get_step_audit_tree_head", p_tree_size=checkpoint.tree_size)
    where = f"log of {checkpoint.tree_size} leaves"
    signed = checkpoint.root_hash.hex()
    if not heads:
        (head,) = call(conn, schema, "get_step_audit_tree_head")
        yield Finding("truncated log", field=where, stored=f"{head['tree_size']} leaves")
    elif heads[0]["root_hash"] != checkpoint.root_hash:
        yield Finding("rewritten log", field=where, stored=heads[0]["root_hash"].hex(), expected=signed)
