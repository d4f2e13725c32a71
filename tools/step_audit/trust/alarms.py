"""Alarms of the watch: what is out of order, told once, again when it changes, and when it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from step_audit.trust.verify import KINDS, Finding

# Findings that an alarm names; its count is of all.
_NAMED = 10

NO_CONNECTION = "no connection"
NOT_WATCHED = "not watched"
OUT_OF_ORDER = "out of order"
NOT_SEALED = "not sealed"
SEALED_LATE = "sealed late"
NOT_VERIFIED = "not verified"
NO_CHECKPOINT = "no checkpoint"

_LOG = (
    "Keep the folder of checkpoints as it is, and a copy of the database. Find out who had the "
    "rights to do it; verify a backup with the same checkpoints"
)
_RECORD = (
    "Keep a copy of the database. Compare the record with a backup, and find out who could write "
    "to the tables meanwhile"
)
_OBJECT = (
    "If nobody did it on purpose, find out who did. 'step-audit install' and 'step-audit attach' "
    "put ours back; then look for what happened meanwhile: 'step-audit verify'"
)

TO_DO: Mapping[str, str] = {
    NO_CONNECTION: "See whether the server runs, and whether this role may log in",
    NOT_WATCHED: "Mend the reason; 'step-audit status' tells it too",
    OUT_OF_ORDER: "If nobody did it on purpose, find out who did. 'step-audit attach' mends "
    "it, and 'step-audit backfill' audits what was not",
    NOT_SEALED: "What is recorded can be changed without a trace until it is sealed: mend the "
    "reason at once; 'step-audit seal' tells it too",
    SEALED_LATE: "Nobody can tell whether these records were changed before they were sealed. Look "
    "for long transactions and for a watch that did not run",
    NOT_VERIFIED: "Mend the reason; 'step-audit verify' tells it too",
    NO_CHECKPOINT: "Mend the reason. Where it is known and stays, 'step-audit checkpoint --folder' "
    "signs: it verifies only that the log extends the newest checkpoint",
    "missing": "'step-audit backfill' audits them. Find out why they were not: trigger or guard "
    "off, a restore, session_replication_role",
    "doubled": "Find out which of the two is forged: a checkpoint proves the one that was sealed",
    "extra": "If the engine deleted the transitions on purpose, nothing; else find out who did",
    "mismatch": _RECORD,
    "altered record": _RECORD,
    "deleted record": _RECORD,
    "inserted record": _RECORD,
    "waits too long": "Look for who deleted the transition, or holds its transaction open",
    "missing leaf": _LOG,
    "missing salt": _LOG,
    "unsealed leaf": _LOG,
    "altered log": _LOG,
    "truncated log": _LOG,
    "rewritten log": _LOG,
    "lost by failover": "Get the lost records from the old primary before it is thrown away. Then "
    "go on in a new folder of checkpoints, and keep this one",
    "hidden record": "REINDEX the tables named, and find out what made the index lie",
    "missing object": _OBJECT,
    "altered object": _OBJECT,
    "foreign object": "If it is not yours, find out whose; take it away",
    "changed while verified": "If no migration ran, find out who replaced tables or settings",
}
"""What to do, by kind of alarm; those of findings are called as the findings are."""


@dataclass(frozen=True)
class Alarm:
    """Something that is out of order.

    Attributes:
        kind: a key of :data:`TO_DO`.
        what: a sentence.
        findings: those that it stands for.
    """

    kind: str
    what: str
    findings: frozenset[Finding] = field(default_factory=frozenset)

    @classmethod
    def of_findings(cls, findings: Iterable[Finding]) -> dict[str, Alarm]:
        """One alarm for each kind of finding."""
        by_kind: dict[str, list[Finding]] = {}
        for each in findings:
            by_kind.setdefault(each.finding, []).append(each)
        return {
            kind: cls(
                kind,
                str(found[0]) + (f", and {len(found) - 1} more" if len(found) > 1 else ""),
                frozenset(found),
            )
            for kind, found in by_kind.items()
        }


@dataclass(frozen=True)
class Event:
    """What became of an alarm; ``state`` is raised, changed or cleared."""

    state: str
    alarm: Alarm
    time: datetime

    def to_dict(self) -> dict[str, Any]:
        """What is told of it but its time, for JSON."""
        found = sorted(self.alarm.findings, key=str)
        event: dict[str, Any] = {
            "alarm": self.alarm.kind,
            "state": self.state,
            "what": self.alarm.what,
            "to_do": TO_DO[self.alarm.kind],
        }
        if found:
            event["count"] = len(found)
            event["findings"] = [finding.to_dict() for finding in found[:_NAMED]]
        return event


@dataclass
class Standing:
    """The alarms that stand; ``tell`` is given what becomes of them."""

    tell: Callable[[Event], None]
    alarms: dict[str, Alarm] = field(default_factory=dict)

    def update(self, found: Mapping[str, Alarm], looked_for: Iterable[str]) -> None:
        """Take in what a look found.

        Args:
            found: alarms by kind.
            looked_for: kinds that would have been found: what is not there any more has ended.
        """
        now = datetime.now(UTC)
        for kind, alarm in found.items():
            before = self.alarms.get(kind)
            self.alarms[kind] = alarm
            if before != alarm:
                self.tell(Event("changed" if before else "raised", alarm, now))
        for kind in looked_for:
            if kind not in found and kind in self.alarms:
                self.tell(Event("cleared", self.alarms.pop(kind), now))

    def raise_one(self, kind: str, what: str) -> None:
        """Take in an alarm that stands for no findings."""
        self.update({kind: Alarm(kind, what)}, ())

    def clear(self, *kinds: str) -> None:
        """What was looked for, and not found."""
        self.update({}, kinds)

    @property
    def findings(self) -> list[str]:
        """The kinds of findings that stand."""
        return sorted(self.alarms.keys() & KINDS.keys())
