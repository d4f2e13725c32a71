"""What a verification found, and what it looked at: for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from step_audit.printing import printable
from step_audit.trust.checkpoint import Checkpoint

KINDS = {
    "missing": "a worker result has no audit row",
    "extra": "an audit row names a transition that is not there, or is no worker result",
    "doubled": "the transition of a worker result, an audit row or its leaf stands there twice",
    "mismatch": "a field of an audit row is not what the transition, or the step, says",
    "altered record": "record, transition, salt or leaf are not as they were sealed",
    "deleted record": "a record is gone that is sealed, or waits in a signed seal",
    "inserted record": "a record was not there when its transaction was sealed, or was purged",
    "waits too long": "an audit row waits for its transition, and is not sealed, for over an hour",
    "missing leaf": "the log lacks leaves that a seal counts",
    "missing salt": "the salt of a leaf is gone, and no erasure accounts for it",
    "unsealed leaf": "a leaf lies behind the newest seal, or its place is taken twice",
    "altered log": "a stored subtree does not agree with the leaves, or a seal not with the one "
    "before or with a signed checkpoint",
    "truncated log": "the log is shorter than a signed checkpoint",
    "rewritten log": "the log has another root than a signed checkpoint",
    "lost by failover": "a standby that lacked the records of a signed checkpoint took over",
    "hidden record": "an index does not show a row that the table has",
    "missing object": "a key, trigger, guard, function, index or view of ours is gone",
    "altered object": "such an object is not as this release makes it",
    "foreign object": "something that is not ours could change evidence, or how it is read",
    "changed while verified": "tables were replaced, or settings changed, while they were read",
}
"""Each kind of finding, and what it means."""


@dataclass(frozen=True)
class Finding:
    """What is not as it should be; ``finding`` is one of :data:`KINDS`.

    ``field`` names what it is about where that is no record: a column, ``leaf 7``, ``seal of 9
    leaves``, ``subtree 0 of leaves 0 to 255``, ``transaction 735``, ``trigger t.trg_append_only``.
    ``stored`` reads well behind "is", and ``expected`` behind "should be".
    """

    finding: str
    workflow_step_transition_uuid: UUID | None = None
    workflow_step_result_audit_uuid: UUID | None = None
    field: str | None = None
    stored: str | None = None
    expected: str | None = None

    def __post_init__(self) -> None:
        """Only what is documented is found."""
        assert self.finding in KINDS, self.finding

    def __str__(self) -> str:
        """The finding for people: one line."""
        parts = [self.finding]
        if self.workflow_step_result_audit_uuid:
            parts.append(f"audit {self.workflow_step_result_audit_uuid}")
        if self.workflow_step_transition_uuid:
            parts.append(f"transition {self.workflow_step_transition_uuid}")
        if self.field:
            parts.append(self.field)
        difference = self._difference()
        if difference:
            parts.append(difference)
        return printable(": ".join(parts))

    def _difference(self) -> str:
        stored, expected = self.stored, self.expected
        if self.finding == "mismatch" and (stored or expected):
            # Both are values of a column.
            stored, expected = stored or "NULL", expected or "NULL"
        told = [f"is {stored}"] if stored else []
        return ", ".join([*told, f"should be {expected}"] if expected else told)

    def to_dict(self) -> dict[str, str | None]:
        """The finding as JSON has it."""
        return {name: None if v is None else str(v) for name, v in asdict(self).items()}


@dataclass(frozen=True)
class Signed:
    """What a log must agree with: a signed checkpoint, and perhaps an older one.

    What lies below the older one was verified before: it is not computed again.
    """

    checkpoint: Checkpoint
    older: Checkpoint | None = None

    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """Both, the older first; one where they are the same."""
        both = (self.checkpoint,) if self.older is None else (self.older, self.checkpoint)
        return tuple(dict.fromkeys(both))

    @property
    def from_leaf(self) -> int:
        """How many leaves were verified before."""
        return self.older.tree_size if self.older else 0


@dataclass(frozen=True)
class Source:
    """Where the evidence was read, and by whom."""

    database: str
    schema: str
    role: str
    server_version: str = "unknown"
    system_identifier: str = "unknown"
    timeline: str = "unknown"
    release: str = "unknown"
    engine_tables: str = "unknown"


@dataclass(frozen=True)
class Counts:
    """How much was looked at.

    Attributes:
        audit_rows: all of them, each compared with the transitions by its key.
        results: worker results among the transitions and those of which only changes tell, each
            looked for among the audit rows.
        compared: audit rows whose fields were read anew from the transition.
        sealed: leaves below the newest seal.
        leaves: leaves computed anew from their records.
        unsealed: audit rows, changes and events without a leaf.
        waiting: of these, those whose transition the newest seal did not see.
        anomalies: fields that could not be read, as recorded.
        objects: tables, columns, keys, triggers, functions and the like.
        unprintable: records whose metadata is too large to be printed.
        uncomputed: leaves of records whose metadata only a server can compute, in a dump.
        unread: results nested too deep, or too large, to be read anew.
        changes: of the leaves, those of what stood in a transition before a change.
        events: of the leaves, those of events.
        purged: leaves whose records a purge took away.
        erased: of the leaves, those whose payload an erasure took away.
    """

    audit_rows: int = 0
    results: int = 0
    compared: int = 0
    sealed: int = 0
    leaves: int = 0
    unsealed: int = 0
    waiting: int = 0
    anomalies: int = 0
    objects: int = 0
    unprintable: int = 0
    uncomputed: int = 0
    unread: int = 0
    changes: int = 0
    events: int = 0
    purged: int = 0
    erased: int = 0


@dataclass(frozen=True)
class Report:
    """The findings, and what was looked at.

    Attributes:
        findings: each once, in the order in which they were found.
        source: where it was read.
        counts: how much was looked at.
        verified_at: when, UTC.
        since: the first time of the results that were looked at, UTC; None: from the beginning.
        until: the time before which they lie; None: to the end.
        signed: the checkpoints that the log was compared with.
        not_looked_at: what nothing was said of, a sentence each.
        remarks: what else the reader should know, a sentence each.
    """

    findings: tuple[Finding, ...]
    source: Source
    counts: Counts
    verified_at: datetime
    since: datetime | None = None
    until: datetime | None = None
    signed: Signed | None = None
    not_looked_at: tuple[str, ...] = ()
    remarks: tuple[str, ...] = field(default=())

    @property
    def missing(self) -> int:
        """How many results have no audit row."""
        return sum(finding.finding == "missing" for finding in self.findings)

    @property
    def results(self) -> int:
        """How many audit rows there are."""
        return self.counts.audit_rows

    def lines(self) -> Iterator[str]:
        """The report for people, in which a name of somebody's choice is no line of its own."""
        return map(printable, self._lines())

    def _lines(self) -> Iterator[str]:
        source, counts = self.source, self.counts
        for finding in self.findings:
            yield str(finding)
        yield (
            f"database {source.database}, schema {source.schema}, engine {source.engine_tables}, "
            f"system {source.system_identifier}, timeline {source.timeline}, "
            f"server {source.server_version}"
        )
        yield (
            f"verified {self.verified_at:%Y-%m-%d %H:%M:%S} UTC by {source.role}, "
            f"step-audit {source.release}"
        )
        if self.since or self.until:
            since, until = _time(self.since, "the first"), _time(self.until, "the last")
            yield f"results from {since} to {until}"
        yield f"objects of the catalog {counts.objects}"
        yield (
            f"results {counts.results}, audit rows {counts.audit_rows}, compared {counts.compared}"
        )
        yield (
            f"sealed {counts.sealed}, computed anew {counts.leaves}, not sealed {counts.unsealed}, "
            f"waiting {counts.waiting}, anomalies {counts.anomalies}, changes {counts.changes}, "
            f"events {counts.events}"
        )
        if counts.purged or counts.erased:
            yield f"gone on purpose: purged {counts.purged}, erased {counts.erased}"
        if self.signed:
            for checkpoint in self.signed.checkpoints:
                yield f"checkpoint of {checkpoint.origin}, {checkpoint.tree_size} leaves"
        for remark in self.remarks:
            yield f"note: {remark}"
        for sentence in self.not_looked_at:
            yield f"not looked at: {sentence}"
        yield f"findings: {len(self.findings)}"

    def to_dict(self) -> dict[str, Any]:
        """The report for programs."""
        signed = self.signed
        return {
            "findings": [finding.to_dict() for finding in self.findings],
            "source": asdict(self.source),
            "verified_at": _time(self.verified_at, ""),
            "since": _time(self.since, None),
            "until": _time(self.until, None),
            "counts": asdict(self.counts),
            "checkpoint_size": signed.checkpoint.tree_size if signed else None,
            "from_checkpoint_size": signed.older.tree_size if signed and signed.older else None,
            "not_looked_at": list(self.not_looked_at),
            "remarks": list(self.remarks),
        }


def _time(time: datetime | None, otherwise: str | None) -> str | None:
    return otherwise if time is None else time.replace(tzinfo=None).isoformat(sep="T")
