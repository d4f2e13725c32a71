"""One sealed record: its leaf computed anew from what the tables say now, and its fields."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from step_audit.trust import jsonb
from step_audit.trust.leaf import RESULT, SALT_SIZE, UNPRINTABLE, VERSION
from step_audit.trust.verify.accounts import Accounts, Erasure, is_erased
from step_audit.trust.verify.behind import Behind
from step_audit.trust.verify.completeness import Sums
from step_audit.trust.verify.fields import (
    RESULT_STATES,
    Anomalies,
    Stored,
    UnreadError,
    compare_metadata,
    compare_rest,
    is_plain,
)
from step_audit.trust.verify.report import Finding

_LEAF = (
    b'["' + VERSION.encode() + b'", "%b", %b, "%b", "%b", "%b", "%b", "%b", %b, %b, %b, %b, %b, '
    b'"%b", "%b", %b, "%b", %b, %b, %b, "%b"]'
)
_RESULT, _UNPRINTABLE = RESULT.encode(), UNPRINTABLE.encode()


class _NoPayload(Enum):
    """Why there is nothing that a leaf could commit to."""

    OF_THIS_KIND = auto()
    WITHOUT_SERVER = auto()


Came = tuple[bytes | None, int]
"""The uuid of a transition that came, and a hash of its content."""

_BOOLEAN = {b"t": b"true", b"f": b"false"}


class Record(NamedTuple):
    """A leaf, its salt, the audit row, its transition and its step: fields as COPY prints them.

    What is not there is None; ``transition_step_uuid`` is None where there is no transition.
    """

    leaf_index: bytes | None
    kind: bytes | None
    record_uuid: bytes | None
    leaf_hash: bytes | None
    salt: bytes | None
    audit_uuid: bytes | None
    step_uuid: bytes | None
    transition_uuid: bytes | None
    task_uuid: bytes | None
    recorded_at: bytes | None
    worker_uuid: bytes | None
    correlation_id: bytes | None
    success: bytes | None
    backfilled: bytes | None
    recorded_by: bytes | None
    execution_time_ms: bytes | None
    created_at: bytes | None
    updated_at: bytes | None
    recorded_xid: bytes | None
    transition_step_uuid: bytes | None
    from_state: bytes | None
    to_state: bytes | None
    transition_created_at: bytes | None
    metadata: bytes | None
    task_of_step: bytes | None


# Leaf, salt and audit row, and of the transition from_state to metadata.
_SEALED_ROW = slice(0, 19)
_CONTENT = slice(20, 24)


@dataclass(frozen=True)
class Scope:
    """What of the records is to be looked at, and how it reads.

    Attributes:
        key: of the sums.
        has_zone: whether the transition's time is printed with a zone, which is UTC.
        is_json: whether metadata may be of type json, so that jsonb's text is to be made of it.
        since: the first time of the results whose fields are compared, as COPY prints it.
        until: the time before which they lie.
        behind: signed seals, which the records of later leaves must not have been there for.
        accounts: the leaves that went on purpose.
    """

    key: bytes
    has_zone: bool
    is_json: bool
    since: bytes | None = None
    until: bytes | None = None
    behind: tuple[Behind, ...] = ()
    accounts: Accounts = field(default_factory=Accounts)

    def of_range(self, first: int, until: int) -> Scope:
        """The same for a range of leaves: with the seals before its end, and its accounts."""
        behind = tuple(seal for seal in self.behind if seal.tree_size < until)
        return replace(self, behind=behind, accounts=self.accounts.between(first, until))


_COUNTS = (
    "leaves",
    "compared",
    "unsealed",
    "unprintable",
    "unread",
    "anomalies",
    "uncomputed",
    "changes",
    "events",
    "purged",
    "erased",
)


@dataclass
class Tally:
    """What was found of records, and how many there were."""

    seen: Sums
    seen_others: Sums
    findings: list[Finding] = field(default_factory=list)
    leaves: int = 0
    compared: int = 0
    unsealed: int = 0
    unprintable: int = 0
    unread: int = 0
    anomalies: int = 0
    uncomputed: int = 0
    changes: int = 0
    events: int = 0
    purged: int = 0
    erased: int = 0

    def merge(self, other: Tally) -> None:
        """Add what another found."""
        self.seen.merge(other.seen)
        self.seen_others.merge(other.seen_others)
        self.findings += other.findings
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@lru_cache(maxsize=4096)
def json_text(value: bytes | None) -> bytes:
    """A text as it stands in a leaf."""
    return b"null" if value is None else json.dumps(value.decode(), ensure_ascii=False).encode()


def without_zone(time: bytes | None) -> bytes | None:
    """A time of UTC as a timestamp without time zone prints it."""
    return None if time is None else time.replace(b"+00", b"", 1)


def quoted(value: bytes | None) -> bytes:
    """A text without anything to escape as it stands in a leaf."""
    return b"null" if value is None else b'"%b"' % value


def compute_leaf_hash(record: Record, salt: bytes, payload: Iterable[bytes]) -> str:
    """The hexadecimal leaf hash of a record that is all there; its times are without zone."""
    commitment = hashlib.sha256(salt + json_text(record.recorded_by) + b"\n")
    for piece in payload:
        commitment.update(piece)
    return _hash_leaf(record, commitment.hexdigest().encode())


def _hash_leaf(record: Record, commitment: bytes) -> str:
    created_at = record.transition_created_at
    leaf = _LEAF % (
        record.kind,
        record.leaf_index,
        record.audit_uuid,
        record.step_uuid,
        record.transition_uuid,
        record.task_uuid,
        (record.recorded_at or b"").replace(b" ", b"T", 1),
        quoted(record.worker_uuid),
        quoted(record.correlation_id),
        _BOOLEAN.get(record.success or b"", b"null"),
        _BOOLEAN.get(record.backfilled or b"", b"null"),
        record.execution_time_ms or b"null",
        (record.created_at or b"").replace(b" ", b"T", 1),
        (record.updated_at or b"").replace(b" ", b"T", 1),
        record.recorded_xid or b"null",
        record.transition_step_uuid,
        json_text(record.from_state),
        json_text(record.to_state),
        b"null" if created_at is None else b'"%b"' % created_at.replace(b" ", b"T", 1),
        commitment,
    )
    return hashlib.sha256(b"\x00" + leaf).hexdigest()


def describe_leaf(record: Record, payload: bytes | None, is_json: bool) -> str | None:
    """The leaf hash that the record has now, None if it cannot be computed.

    Args:
        record: all of it but metadata.
        payload: what its leaf commits to.
        is_json: whether that may be written otherwise than jsonb prints it.
    """
    if record.transition_step_uuid is None or record.salt is None:
        return None
    salt = bytes.fromhex(record.salt[2:].decode())
    if len(salt) != SALT_SIZE:
        # A longer one could begin what is committed to in place of the private part.
        return None
    computed = compute_leaf_hash(record, salt, [payload or b""])
    if is_json and payload and computed != _stored_hash(record):
        # As jsonb prints it; json that jsonb cannot hold is sealed as it is written.
        try:
            pieces = jsonb.print_pieces(payload.decode())
        except ValueError:
            return computed
        return compute_leaf_hash(record, salt, (piece.encode() for piece in pieces))
    return computed


def _stored_hash(record: Record) -> str:
    return (record.leaf_hash or b"").removeprefix(b"\\x").decode()


class Examiner:
    """Looks at records, leaf by leaf or without one, and keeps a tally.

    An audit row comes with several rows where its transition is there twice, which is found; for
    the other findings one that fits is enough. Where none does, what each of them lacks is found.
    Two audit rows or leaves under one key are found too, and each has to fit by itself.
    """

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.tally = Tally(Sums(scope.key), Sums(scope.key))
        self.anomalies: dict[bytes, Anomalies] = {}
        # By the hash of leaf, salt and audit row.
        self._unfit: dict[int, list[Finding]] = {}
        self._fit: set[int] = set()
        self._unfit_records: dict[int, bytes] = {}
        self._compared: set[int] = set()
        # The transitions that came with each.
        self._came: dict[int, list[Came]] = {}
        # By the key of an audit row: the first that came, and its transition.
        self._first: dict[bytes, tuple[int, bytes | None]] = {}

    def end_range(self) -> None:
        """Note what was found of a range of records, all of whose rows have come."""
        for key, findings in self._unfit.items():
            if key not in self._fit:
                self.tally.findings += findings
        self._unfit.clear()
        self._unfit_records.clear()
        self._fit.clear()
        self._compared.clear()
        self._came.clear()
        self._first.clear()

    @property
    def unfit(self) -> list[str]:
        """The audit rows that nothing fits which came so far."""
        return [uuid.decode() for key, uuid in self._unfit_records.items() if key not in self._fit]

    def examine_version(
        self, row: list[bytes | None], is_json: bool, is_printed: bool = True
    ) -> None:
        """Look at a record with a version of its transition that a change kept."""
        record = self._read(row)
        if self.scope.accounts.is_purged(record.leaf_index):
            return
        key = hash(record[_SEALED_ROW])
        findings = []
        erasure = self.scope.accounts.erasure(record.leaf_index)
        if erasure:
            findings += _examine_erased(record, erasure)
        elif record.leaf_index is not None:
            payload = self._payload(record, is_json, is_printed)
            findings += self._examine_leaf(record, payload, is_json)
        findings += self._examine_fields(record, key, is_printed and not erasure)
        if not findings:
            self._fit.add(key)

    def examine(
        self,
        row: list[bytes | None],
        is_printed: bool = True,
        size_and_hash: bytes | None = None,
    ) -> Record:
        """Look at one row: of a leaf, or of an audit row without one.

        Args:
            row: the fields of a :class:`Record`.
            is_printed: False where metadata cannot be printed: in its place comes what stands for
                it in a leaf, its size and a hash.
            size_and_hash: these of json that is printed, but cannot be as jsonb.
        """
        record = self._read(row)
        key = hash(record[_SEALED_ROW])
        is_first, is_new = self._note(record, key)
        findings: list[Finding] = []
        if self.scope.accounts.is_purged(record.leaf_index):
            self.tally.purged += is_first
            if record.audit_uuid is not None:
                findings.append(_of_leaf("inserted record", record, "there", "purged"))
            elif record.salt is not None:
                findings.append(_of_leaf("altered record", record, "with its salt", "purged"))
            self._judge(key, record, findings)
            return record
        erasure = self.scope.accounts.erasure(record.leaf_index)
        if is_first and record.leaf_index is None:
            self.tally.unsealed += 1
        elif is_first:
            self.tally.leaves += 1
        if erasure:
            self.tally.erased += is_first
            findings += _examine_erased(record, erasure)
        elif record.leaf_index is not None:
            payload = self._payload(record, self.scope.is_json, is_printed, size_and_hash)
            findings += self._examine_leaf(record, payload, self.scope.is_json)
        if record.leaf_index is not None and self.scope.behind:
            findings += self._examine_order(record)
        self.tally.unprintable += is_new and not is_printed
        findings += self._examine_fields(record, key, is_printed and not erasure)
        self._judge(key, record, findings if is_new or not findings else None)
        return record

    def _read(self, row: list[bytes | None]) -> Record:
        record = Record(*row)
        if not self.scope.has_zone:
            return record
        return record._replace(transition_created_at=without_zone(record.transition_created_at))

    def _judge(self, key: int, record: Record, findings: list[Finding] | None) -> None:
        """Note what a row lacks, None where the same one came before."""
        if findings:
            self._unfit.setdefault(key, []).extend(findings)
            if record.audit_uuid is not None:
                self._unfit_records[key] = record.audit_uuid
        elif findings is not None:
            self._fit.add(key)

    def _note(self, record: Record, key: int) -> tuple[bool, bool]:
        """Note what came, and find twins; gives whether it is the first of its key, and is new."""
        # Two that are alike in all of it are two results of one key: the sums of pairs tell them.
        content = hash((record.transition_step_uuid, record[_CONTENT]))
        transition = (record.transition_uuid, content)
        came = self._came.setdefault(key, [])
        is_first, is_new = not came, transition not in came
        if is_new:
            if any(each[0] == transition[0] for each in came):
                self.tally.findings.append(Finding("doubled", _uuid(record.transition_uuid)))
            came.append(transition)
        if is_first and record.audit_uuid is not None:
            self.tally.seen.add(record.audit_uuid)
            first = self._first.setdefault(record.audit_uuid, (key, record.transition_uuid))
            if first[0] != key:
                both = (first[1], record.transition_uuid)
                self.tally.findings += [doubled(record.audit_uuid, each) for each in both]
        return is_first, is_new

    def _payload(
        self,
        record: Record,
        is_json: bool,
        is_printed: bool = True,
        size_and_hash: bytes | None = None,
    ) -> bytes | _NoPayload | None:
        """What the leaf of a record of its kind commits to, now."""
        if record.kind == _RESULT:
            return record.metadata if is_printed else _NoPayload.OF_THIS_KIND
        if record.kind != _UNPRINTABLE:
            return _NoPayload.OF_THIS_KIND
        if not is_printed:
            return record.metadata
        if size_and_hash is not None:
            return size_and_hash
        if is_json and not jsonb.is_printable((record.metadata or b"null").decode()):
            return _NoPayload.WITHOUT_SERVER
        return _NoPayload.OF_THIS_KIND

    def _examine_leaf(
        self, record: Record, payload: bytes | _NoPayload | None, is_json: bool
    ) -> list[Finding]:
        stored = _stored_hash(record)
        if record.audit_uuid is None:
            return [_of_leaf("deleted record", record, expected=stored)]
        if record.salt is None:
            return [_of_leaf("missing salt", record)]
        if payload is _NoPayload.WITHOUT_SERVER:
            self.tally.uncomputed += 1
            return []
        computed = None
        if not isinstance(payload, _NoPayload):
            computed = describe_leaf(record, payload, is_json and record.kind == _RESULT)
        if computed == stored:
            return []
        return [_of_leaf("altered record", record, computed, stored)]

    def _examine_order(self, record: Record) -> list[Finding]:
        if record.audit_uuid is None:
            return []
        for seal in self.scope.behind:
            if seal.lacks(record.leaf_index, record.audit_uuid, record.recorded_xid):
                return [inserted(record, seal.tree_size)]
        return []

    def _examine_fields(self, record: Record, key: int, is_printed: bool) -> list[Finding]:
        to_state = record.to_state
        if record.audit_uuid is None or to_state not in RESULT_STATES or to_state is None:
            return []
        if not lies_between(record.transition_created_at, self.scope.since, self.scope.until):
            return []
        stored = Stored(*record[8:14], *record[15:18])
        anomalies = self.anomalies.get(record.audit_uuid, {})
        is_first = key not in self._compared
        if is_first:
            self._compared.add(key)
            self.tally.compared += 1
            self.tally.anomalies += len(anomalies)
        differences = compare_rest(stored, record.task_of_step, record.transition_created_at)
        if is_printed and (anomalies or not is_plain(stored, to_state, record.metadata)):
            try:
                differences += compare_metadata(stored, to_state, record.metadata, anomalies)
            except UnreadError:
                self.tally.unread += is_first
        return [
            Finding(
                "mismatch",
                _uuid(record.transition_uuid),
                _uuid(record.audit_uuid),
                difference.field,
                difference.stored,
                difference.expected,
            )
            for difference in differences
        ]


def _examine_erased(record: Record, erasure: Erasure) -> list[Finding]:
    """Look at a record without a payload, whose commitment the erasure kept."""
    stored = _stored_hash(record)
    if record.audit_uuid is None:
        return [_of_leaf("deleted record", record, expected=stored)]
    if record.salt is not None:
        return [_of_leaf("altered record", record, "with its salt", "erased")]
    if not is_erased(record.metadata):
        return [_of_leaf("altered record", record, "with metadata", "erased")]
    if record.recorded_by != erasure.recorded_by:
        return [_of_leaf("altered record", record, "by another role", "erased")]
    computed = None
    if record.transition_step_uuid is not None:
        computed = _hash_leaf(record, erasure.commitment)
    return [] if computed == stored else [_of_leaf("altered record", record, computed, stored)]


def _of_leaf(
    kind: str, record: Record, stored: str | None = None, expected: str | None = None
) -> Finding:
    return Finding(
        kind,
        workflow_step_result_audit_uuid=_uuid(record.record_uuid),
        field=f"leaf {(record.leaf_index or b'').decode()}",
        stored=stored,
        expected=expected,
    )


def doubled(audit_uuid: bytes, transition_uuid: bytes | None) -> Finding:
    """One of several audit rows under one key; without a transition: one that has two leaves."""
    return Finding(
        "doubled",
        _uuid(transition_uuid),
        _uuid(audit_uuid),
        field=None if transition_uuid else "its leaf",
    )


def inserted(record: Record, tree_size: int) -> Finding:
    """A record that is not among the leaves of a seal which covered its transaction."""
    index = record.leaf_index
    return Finding(
        "inserted record",
        workflow_step_result_audit_uuid=_uuid(record.audit_uuid),
        field=f"transaction {(record.recorded_xid or b'').decode()}",
        stored=None if index is None else f"leaf {index.decode()}",
        expected=f"a leaf in the log of {tree_size}",
    )


def lies_between(time: bytes | None, since: bytes | None, until: bytes | None) -> bool:
    """Whether a time lies in a range: ``since`` is in it, ``until`` is not; no time is in none."""
    if since is None and until is None:
        return True
    if time is None:
        return False
    key = _order(time)
    return (since is None or key >= since) and (until is None or key < until)


def _order(time: bytes) -> bytes:
    if time[4:5] == b"-" and not time.endswith(b"BC"):
        return time
    return b"" if time.endswith(b"BC") or time.startswith(b"-") else b"~"


def _uuid(text: bytes | None) -> UUID | None:
    return None if text is None else UUID(text.decode())
