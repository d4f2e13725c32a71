"""Verify: is each result audited, is each record as it was sealed, is the machinery untouched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

from step_audit.database import Connection, call, transaction
from step_audit.errors import RefusedError, UsageError
from step_audit.setup.machinery import find_altered_functions, list_overloads
from step_audit.setup.sources import load_sources
from step_audit.trust.checkpoint import Checkpoint, open_checkpoint

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
        """The finding for people: one line."""
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


@dataclass(frozen=True)
class Signed:
    """What a log must agree with: a signed checkpoint, and perhaps an older one.

    The leaves below the older one were verified before: they are not computed again.
    """

    checkpoint: Checkpoint
    verified: Checkpoint | None = None


@dataclass(frozen=True)
class Report:
    """The findings, and what was looked at; ``anomalies`` counts what could not be read."""

    findings: tuple[Finding, ...]
    results: int
    anomalies: int
    sealed: int
    signed: Signed | None

    @property
    def missing(self) -> int:
        """How many results have no audit row."""
        return sum(finding.finding == "missing" for finding in self.findings)

    def lines(self) -> Iterator[str]:
        """The report for people."""
        for finding in self.findings:
            yield str(finding)
        yield f"audit rows {self.results}, sealed {self.sealed}, anomalies {self.anomalies}"
        if self.signed:
            held = self.signed.checkpoint
            yield f"checkpoint of {held.origin}, {held.tree_size} leaves"
        else:
            yield "the sealed log was not verified: give --checkpoint"
        yield f"findings: {len(self.findings)}"

    def to_dict(self) -> dict[str, Any]:
        """The report for programs."""
        return {
            "findings": [finding.to_dict() for finding in self.findings],
            "audit_rows": self.results,
            "sealed": self.sealed,
            "anomalies": self.anomalies,
            "checkpoint_size": self.signed.checkpoint.tree_size if self.signed else None,
        }


def open_signed(checkpoint: str, verified: str | None, public_key: str) -> Signed:
    """Check the signatures of a checkpoint and of an older one.

    Raises:
        TrustError: one of them, or the key, cannot be read, or is not signed by this key.
    """
    newer = open_checkpoint(checkpoint, public_key)
    older = open_checkpoint(verified, public_key) if verified is not None else None
    if older and older.tree_size > newer.tree_size:
        raise UsageError("the checkpoint that was verified is newer than the one to verify.")
    return Signed(newer, older)


def verify(
    conn: Connection,
    schema: str,
    since: datetime | None = None,
    until: datetime | None = None,
    signed: Signed | None = None,
) -> Report:
    """Verify machinery, completeness and, with a checkpoint, the sealed log.

    Args:
        conn: a connection in autocommit.
        schema: where step-audit is installed.
        since: look at results from then on, UTC; the sealed log has its own range.
        until: look at results before then, UTC.
        signed: what the sealed log must agree with; None leaves it out.

    Raises:
        NotInstalledError: nothing is installed.
        RefusedError: another release is installed.
    """
    with transaction(conn):
        findings = [
            *_verify_machinery(conn, schema),
            *_verify_completeness(conn, schema, since, until),
        ]
        if signed:
            findings += _verify_log(conn, schema, signed)
        (status,) = call(conn, schema, "get_step_audit_status")
    return Report(
        tuple(dict.fromkeys(findings)),
        status["audit_rows"],
        status["anomalies"],
        status["sealed"],
        signed,
    )


def _verify_machinery(conn: Connection, schema: str) -> Iterator[Finding]:
    sources = load_sources()
    (health,) = call(conn, schema, "get_step_audit_health")
    if health["release"] != sources.release:
        raise RefusedError(
            f"the database has step-audit {health['release']}, this command is {sources.release}, "
            "so it cannot tell what should be there. Verify with that release, or install this one."
        )
    for path in sorted(find_altered_functions(conn, schema, sources)):
        yield Finding("altered object", field=f"function {PurePosixPath(path).stem}")
    for overload in list_overloads(conn, schema, sources):
        yield Finding("foreign object", field=f"function {overload}")


def _verify_completeness(
    conn: Connection, schema: str, since: datetime | None, until: datetime | None
) -> Iterator[Finding]:
    for row in call(conn, schema, "verify_step_result_audit", p_from=since, p_until=until):
        # The functions were compared, with more than the database knows.
        if not (row["field"] or "").startswith("function "):
            yield Finding(**row)


def _verify_log(conn: Connection, schema: str, signed: Signed) -> Iterator[Finding]:
    first = signed.verified.tree_size if signed.verified else 0
    (head,) = call(conn, schema, "get_step_audit_tree_head")
    size = head["tree_size"]
    # One query for each subtree of the second height.
    for start in range(first // _TOGETHER * _TOGETHER, size, _TOGETHER):
        bounds = {"p_first": max(start, first), "p_until": min(start + _TOGETHER, size)}
        for row in call(conn, schema, "verify_step_audit_log", **bounds):
            yield Finding(**row)
    for row in call(conn, schema, "verify_step_audit_seals", p_since=first):
        yield Finding(**row)
    for checkpoint in filter(None, (signed.verified, signed.checkpoint)):
        yield from _compare_root(conn, schema, checkpoint, size)


def _compare_root(
    conn: Connection, schema: str, checkpoint: Checkpoint, size: int
) -> Iterator[Finding]:
    expected = f"{checkpoint.tree_size} leaves, root {checkpoint.root_hash.hex()}"
    heads = call(conn, schema, "get_step_audit_tree_head", p_tree_size=checkpoint.tree_size)
    if not heads:
        yield Finding("truncated log", stored=f"{size} leaves", expected=expected)
    elif heads[0]["root_hash"] != checkpoint.root_hash:
        stored = f"{checkpoint.tree_size} leaves, root {heads[0]['root_hash'].hex()}"
        yield Finding("rewritten log", stored=stored, expected=expected)
