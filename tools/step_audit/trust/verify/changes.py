"""Sealed changes and events: their leaves computed anew, and what came after a change."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from step_audit.trust import jsonb
from step_audit.trust.leaf import SALT_SIZE, VERSION
from step_audit.trust.verify.accounts import Erasure
from step_audit.trust.verify.fields import RESULT_STATES
from step_audit.trust.verify.records import (
    Scope,
    Tally,
    json_text,
    quoted,
    without_zone,
)
from step_audit.trust.verify.report import Finding

CHANGE_KINDS = ("change", "unprintable change")
EVENT_KINDS = ("event",)
OTHER_KINDS = (*CHANGE_KINDS, *EVENT_KINDS)
"""The kinds of leaves that are of no result."""

UNPRINTABLE_CHANGE = b"unprintable change"
# Behind the keys of all changes: how a transition stands; and behind that, nothing.
_STANDING, _NONE_BEHIND = b"~", b"~~"
_DELETED = frozenset({b"delete", b"truncate"})
_ERASABLE = frozenset({b"operator action", b"attribution"})
_WITH_SUCCESSOR = frozenset({b"update", b"insert"})


class Change(NamedTuple):
    """A leaf, its salt and the change that it is of: fields as COPY prints them."""

    leaf_index: bytes | None
    kind: bytes | None
    record_uuid: bytes | None
    leaf_hash: bytes | None
    salt: bytes | None
    change_uuid: bytes | None
    operation: bytes | None
    transition_uuid: bytes | None
    step_uuid: bytes | None
    from_state: bytes | None
    to_state: bytes | None
    sort_key: bytes | None
    created_at: bytes | None
    recorded_at: bytes | None
    recorded_by: bytes | None
    recorded_xid: bytes | None
    metadata: bytes | None
    metadata_json: bytes | None


class Event(NamedTuple):
    """A leaf, its salt and the event that it is of: fields as COPY prints them."""

    leaf_index: bytes | None
    kind: bytes | None
    record_uuid: bytes | None
    leaf_hash: bytes | None
    salt: bytes | None
    event_uuid: bytes | None
    event_kind: bytes | None
    task_uuid: bytes | None
    step_uuid: bytes | None
    transition_uuid: bytes | None
    payload: bytes | None
    recorded_at: bytes | None
    recorded_by: bytes | None
    recorded_xid: bytes | None


class Version(NamedTuple):
    """How a transition stands, or stood before a change: fields as COPY prints them.

    ``change_uuid`` is None of how it stands.
    """

    transition_uuid: bytes | None
    change_uuid: bytes | None
    step_uuid: bytes | None
    from_state: bytes | None
    to_state: bytes | None
    sort_key: bytes | None
    created_at: bytes | None
    metadata: bytes | None
    metadata_json: bytes | None


@dataclass
class _Update:
    """The leaf of an update whose successor is looked for: the next version behind it."""

    change: Change
    salt: bytes
    payload: Iterable[bytes]
    next: bytes = _NONE_BEHIND
    fits: bool = False

    def look_at(self, version: Version) -> None:
        """Look whether a version is the next so far, and what the update left behind it."""
        key = _STANDING if version.change_uuid is None else version.change_uuid
        if not (self.change.change_uuid or b"") < key <= self.next:
            return
        if key < self.next:
            self.next, self.fits = key, False
        for payload in payloads(version.metadata, version.metadata_json):
            successor = _commit_version(version, self.salt, payload)
            private = _private(self.change, self.salt, self.payload)
            leaf = _change_leaf(self.change, private, successor)
            self.fits = self.fits or leaf == self.change.leaf_hash


def payloads(metadata: bytes | None, metadata_json: bytes | None) -> Iterator[Iterable[bytes]]:
    """What a leaf may commit to: of json, itself where jsonb cannot hold it, else jsonb's text."""
    if metadata_json is None:
        yield [metadata or b""]
        return
    yield [metadata_json]
    try:
        yield [piece.encode() for piece in jsonb.print_pieces(metadata_json.decode())]
    except ValueError:
        return


class ChangeExaminer:
    """Looks at the changes and events of a range of leaves, and keeps a tally.

    The leaf of an update, or of what came again, commits to the version that it left behind it.
    That is what the next change kept, or how the transition stands: the versions come by
    :meth:`examine_version`, in any order.
    """

    def __init__(self, scope: Scope, tally: Tally) -> None:
        self._scope = scope
        self._tally = tally
        self._updates: dict[bytes, list[_Update]] = {}
        self._seen: set[bytes | None] = set()

    @property
    def updated(self) -> list[str]:
        """The transitions of whose updates a successor is looked for."""
        return [transition.decode() for transition in self._updates if transition]

    def examine_change(self, row: list[bytes | None], is_printed: bool = True) -> None:
        """Look at the leaf of a change; where it is not printed, at the size and hash of it."""
        change = Change(*row)
        if change.leaf_index in self._seen:
            return
        self._seen.add(change.leaf_index)
        salt = self._open(change, change.change_uuid)
        if salt is None:
            return
        self._tally.unprintable += not is_printed
        if (change.kind == UNPRINTABLE_CHANGE) is is_printed:
            self._tally.findings.append(_altered(change, "change"))
            return
        possible = list(payloads(change.metadata, change.metadata_json))
        if any(
            _change_leaf(change, _private(change, salt, payload), None) == change.leaf_hash
            for payload in possible
        ):
            return
        if change.operation in _WITH_SUCCESSOR:
            updates = [_Update(change, salt, payload) for payload in possible]
            self._updates.setdefault(change.transition_uuid or b"", []).extend(updates)
        else:
            self._tally.findings.append(_altered(change, "change"))

    def examine_version(self, row: list[bytes | None]) -> None:
        """Look whether a version is what an update made."""
        version = Version(*row)
        for update in self._updates.get(version.transition_uuid or b"", []):
            update.look_at(version)

    def end_range(self) -> None:
        """Note the updates that nothing fits that came after them."""
        for updates in self._updates.values():
            fit = {update.change.leaf_index for update in updates if update.fits}
            for change in dict.fromkeys(update.change for update in updates):
                if change.leaf_index not in fit:
                    self._tally.findings.append(_altered(change, "change"))
        self._updates.clear()

    def examine_event(self, row: list[bytes | None]) -> None:
        """Look at the leaf of an event."""
        event = Event(*row)
        salt = self._open(event, event.event_uuid)
        if salt is None:
            return
        private = _private(event, salt, [event.payload or b""])
        if _event_leaf(event, private) != event.leaf_hash:
            self._tally.findings.append(_altered(event, "event"))

    def _open(self, record: Change | Event, uuid: bytes | None) -> bytes | None:
        """Look at what leaves of both have; gives the salt where there is more to look at."""
        what = "event" if isinstance(record, Event) else "change"
        tally, accounts = self._tally, self._scope.accounts
        if uuid is not None:
            tally.seen_others.add(uuid)
        if accounts.is_purged(record.leaf_index):
            tally.purged += 1
            if uuid is not None:
                field = _place(record, what)
                tally.findings.append(Finding("inserted record", field=field, expected="purged"))
            elif record.salt is not None:
                tally.findings.append(
                    Finding(
                        "altered record",
                        field=_place(record, what),
                        stored="with its salt",
                        expected="purged",
                    )
                )
            return None
        tally.leaves += 1
        tally.events += what == "event"
        tally.changes += what == "change"
        if uuid is None:
            tally.findings.append(_deleted(record))
            return None
        self._look_behind(record, what)
        erasure = accounts.erasure(record.leaf_index)
        if erasure:
            tally.erased += 1
            if not _is_as_erased(record, erasure):
                tally.findings.append(_altered(record, what))
            return None
        salt = _salt(record.salt)
        if salt is None:
            tally.findings.append(_lost_salt(record, what))
        return salt

    def _look_behind(self, record: Change | Event, what: str) -> None:
        for seal in self._scope.behind:
            if seal.lacks(record.leaf_index, record.record_uuid or b"", record.recorded_xid):
                self._tally.findings.append(
                    inserted(record.record_uuid, record.recorded_xid, what, seal.tree_size)
                )
                return


def last_deleted(rows: Iterable[list[bytes | None]]) -> dict[bytes, bytes]:
    """The transitions of which the last change tells that they were deleted, and that change.

    Args:
        rows: transition, key and operation of each change of a transition.
    """
    last: dict[bytes, tuple[bytes, bytes]] = {}
    for transition, change, operation in rows:
        each = (change or b"", operation or b"")
        key = transition or b""
        last[key] = max(each, last.get(key, each))
    return {key: change for key, (change, operation) in last.items() if operation in _DELETED}


def find_risen(
    deleted: dict[bytes, bytes],
    versions: Iterable[list[bytes | None]],
    audits: Iterable[list[bytes | None]],
) -> Iterator[Finding]:
    """Results that stand otherwise than changes kept them, though these tell that they are deleted.

    Args:
        deleted: by :func:`last_deleted`.
        versions: of these transitions, as :class:`Version` has them.
        audits: transition, key and ``backfilled`` of the audit rows of these transitions. One that
            the trigger wrote later is of what stands.
    """
    recorded = {
        transition
        for transition, key, backfilled in audits
        if backfilled == b"f" and (key or b"") > deleted.get(transition or b"", b"~")
    }
    kept: set[int] = set()
    standing: list[tuple[bytes, int]] = []
    for row in versions:
        version = Version(*row)
        key = version.transition_uuid or b""
        created_at = without_zone(version.created_at)
        content = hash(version._replace(change_uuid=None, created_at=created_at))
        if version.change_uuid is not None:
            kept.add(content)
        elif version.to_state in RESULT_STATES and key not in recorded:
            standing.append((key, content))
    for key, content in dict.fromkeys(standing):
        if content not in kept:
            yield Finding(
                "altered record",
                UUID(key.decode()),
                field=f"change {deleted[key].decode()}",
                stored="of a transition that stands",
                expected="the last of it",
            )


def inserted(uuid: bytes | None, xid: bytes | None, what: str, tree_size: int) -> Finding:
    """A change or event that is not among the leaves of a seal which covered its transaction."""
    return Finding(
        "inserted record",
        field=f"{what} {_text(uuid)} of transaction {_text(xid)}",
        expected=f"a leaf in the log of {tree_size}",
    )


def _salt(stored: bytes | None) -> bytes | None:
    salt = None if stored is None else bytes.fromhex(stored[2:].decode())
    return salt if salt is not None and len(salt) == SALT_SIZE else None


def _time(time: bytes | None) -> bytes | None:
    return None if time is None else time.replace(b" ", b"T", 1)


def _commitment(salt: bytes, private: bytes, payload: Iterable[bytes]) -> bytes:
    commitment = hashlib.sha256(salt + private + b"\n")
    for piece in payload:
        commitment.update(piece)
    return commitment.hexdigest().encode()


def _leaf(elements: list[bytes]) -> bytes:
    leaf = b"[" + b", ".join([json_text(VERSION.encode()), *elements]) + b"]"
    return b"\\x" + hashlib.sha256(b"\x00" + leaf).hexdigest().encode()


def _private(record: Change | Event, salt: bytes, payload: Iterable[bytes]) -> bytes:
    return _commitment(salt, json_text(record.recorded_by), payload)


def _change_leaf(change: Change, commitment: bytes, successor: bytes | None) -> bytes:
    return _leaf(
        [
            json_text(change.kind),
            change.leaf_index or b"",
            quoted(change.change_uuid),
            json_text(change.operation),
            quoted(change.transition_uuid),
            quoted(change.step_uuid),
            json_text(change.from_state),
            json_text(change.to_state),
            change.sort_key or b"null",
            quoted(_time(change.created_at)),
            quoted(_time(change.recorded_at)),
            change.recorded_xid or b"null",
            quoted(successor),
            quoted(commitment),
        ]
    )


def _event_leaf(event: Event, commitment: bytes) -> bytes:
    return _leaf(
        [
            json_text(event.kind),
            event.leaf_index or b"",
            quoted(event.event_uuid),
            json_text(event.event_kind),
            quoted(event.task_uuid),
            quoted(event.step_uuid),
            quoted(event.transition_uuid),
            quoted(_time(event.recorded_at)),
            event.recorded_xid or b"null",
            quoted(commitment),
        ]
    )


def _is_as_erased(record: Change | Event, erasure: Erasure) -> bool:
    """Whether salt and payload are gone, and the leaf is that of what the erasure kept.

    A hold, a release, a purge and an erasure are never erased.
    """
    if isinstance(record, Event):
        if record.event_kind not in _ERASABLE:
            return False
        payloads = [record.payload]
        leaf = _event_leaf(record, erasure.commitment)
    else:
        payloads = [record.metadata, record.metadata_json]
        leaf = _change_leaf(record, erasure.commitment, erasure.successor)
    return (
        record.salt is None
        and not any(payloads)
        and record.recorded_by == erasure.recorded_by
        and leaf == record.leaf_hash
    )


def _commit_version(version: Version, salt: bytes, payload: Iterable[bytes]) -> bytes:
    elements = [
        quoted(version.transition_uuid),
        quoted(version.step_uuid),
        json_text(version.from_state),
        json_text(version.to_state),
        version.sort_key or b"null",
        quoted(_time(without_zone(version.created_at))),
    ]
    return _commitment(salt, b"[" + b", ".join(elements) + b"]", payload)


def _text(value: bytes | None) -> str:
    return (value or b"").decode()


def _place(record: Change | Event, what: str) -> str:
    return f"leaf {_text(record.leaf_index)}, {what} {_text(record.record_uuid)}"


def _deleted(record: Change | Event) -> Finding:
    return Finding(
        "deleted record",
        field=_place(record, _text(record.kind)),
        expected=_text(record.leaf_hash).removeprefix("\\x"),
    )


def _lost_salt(record: Change | Event, what: str) -> Finding:
    return Finding("missing salt", _uuid(record), field=_place(record, what))


def _altered(record: Change | Event, what: str) -> Finding:
    return Finding(
        "altered record",
        _uuid(record),
        field=_place(record, what),
        expected=_text(record.leaf_hash).removeprefix("\\x"),
    )


def _uuid(record: Change | Event) -> UUID | None:
    return None if record.transition_uuid is None else UUID(record.transition_uuid.decode())
