"""What purges and erasures account for: leaves whose records, or their payloads, went on purpose.

An event tells of each. It can only name leaves that were there before it; whether it stands as it
was sealed is looked at with all other events.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice, takewhile
from math import inf
from typing import Any, NamedTuple

from step_audit.trust.verify.copying import Row

PURGED, ERASED = "purged", "erased"

_RANGE = re.compile(r"\[(\d{1,18}),(\d{1,18})\)")
_RANGES = re.compile(rf"\{{(?:{_RANGE.pattern}(?:,{_RANGE.pattern})*)?\}}")
_HASH = re.compile(rb"[0-9a-f]{64}")


class Erasure(NamedTuple):
    """What an erasure keeps of a leaf: the commitment, of a change the successor, and the role."""

    commitment: bytes
    successor: bytes | None = None
    recorded_by: bytes | None = None


class _Told(NamedTuple):
    """What an event says that its erasure left standing."""

    leaf_index: float
    event_uuid: bytes
    left: list[object] | None

    def order(self) -> tuple[float, bytes]:
        """Which erasure was the later one; one without a leaf is later than all leaves."""
        return self.leaf_index, self.event_uuid


@dataclass(frozen=True)
class Accounts:
    """The leaves that went on purpose.

    Attributes:
        purged: of these the records are gone: ranges of leaf indexes, the end not in it, in order.
        erased: by leaf index, in order.
        left: by transition, the result that its last erasure left standing: its keys, states,
            ``sort_key`` and time; None where it left none.
        remarks: who did it, for the reader of a report.
    """

    purged: tuple[tuple[int, int], ...] = ()
    erased: Mapping[int, Erasure] = field(default_factory=dict)
    left: Mapping[bytes, list[object] | None] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @cached_property
    def erased_indexes(self) -> tuple[int, ...]:
        """The leaves whose payloads went, in order."""
        return tuple(self.erased)

    def is_purged(self, index: bytes | None) -> bool:
        """Whether a purge accounts for the record of a leaf."""
        if not self.purged or index is None:
            return False
        place = bisect_right(self.purged, (int(index), 1 << 63))
        return place > 0 and int(index) < self.purged[place - 1][1]

    def erasure(self, index: bytes | None) -> Erasure | None:
        """What an erasure keeps of a leaf, None where none names it."""
        return self.erased.get(int(index)) if self.erased and index is not None else None

    def between(self, first: int, until: int) -> Accounts:
        """Those of a range of leaves."""
        if not self.purged and not self.erased:
            return self
        start = max(0, bisect_right(self.purged, (first, 1 << 63)) - 1)
        purged = tuple(
            (max(begin, first), min(end, until))
            for begin, end in takewhile(
                lambda each: each[0] < until, islice(self.purged, start, None)
            )
            if end > first
        )
        indexes = self.erased_indexes
        mine = indexes[bisect_left(indexes, first) : bisect_left(indexes, until)]
        erased = {index: self.erased[index] for index in mine}
        return Accounts(purged, erased)


def read_accounts(rows: Iterable[Row], size: int) -> Accounts:
    """The accounts of a log.

    Args:
        rows: of each purge and erasure its kind, transition, payload, who and when, key, and the
            index of its leaf.
        size: of the log, which one without a leaf may name.
    """
    purged: list[tuple[int, int]] = []
    erased: dict[int, Erasure] = {}
    told: dict[str, list[tuple[str, str]]] = {}
    last: dict[bytes, _Told] = {}
    for kind, transition, payload, recorded_by, recorded_at, uuid, index in rows:
        end = size if index is None else min(int(index), size)
        word = (kind or b"").decode()
        account = _read_account(payload)
        leaves = account.get("leaves")
        if word == PURGED:
            purged += [(first, min(until, end)) for first, until in _ranges(leaves) if first < end]
        else:
            erased |= {each: kept for each, kept in _erasures(leaves) if 0 <= each < end}
            standing = account.get("standing")
            erasure = _Told(
                inf if index is None else int(index),
                uuid or b"",
                standing if isinstance(standing, list) else None,
            )
            key = transition or b""
            last[key] = max(erasure, last.get(key, erasure), key=_Told.order)
        who = ((recorded_by or b"").decode(), (recorded_at or b"").decode()[:19])
        told.setdefault(word, []).append(who)
    return Accounts(
        _merged(purged),
        dict(sorted(erased.items())),
        {key: erasure.left for key, erasure in last.items()},
        tuple(_remarks(told)),
    )


def is_erased(metadata: bytes | None) -> bool:
    """Whether metadata is what an erasure leaves: NULL, or nothing where that is not allowed."""
    return metadata in (None, b"{}")


def _read_account(payload: bytes | None) -> dict[str, Any]:
    try:
        read = json.loads(payload or b"null")
    except (ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


def _ranges(leaves: object) -> Iterator[tuple[int, int]]:
    if isinstance(leaves, str) and _RANGES.fullmatch(leaves):
        for found in _RANGE.finditer(leaves):
            yield int(found[1]), int(found[2])


def _erasures(leaves: object) -> Iterator[tuple[int, Erasure]]:
    for each in leaves if isinstance(leaves, list) else []:
        match each:
            case [bool(), *_]:
                pass
            case [int(index), *texts] if len(texts) == len(Erasure._fields):
                erasure = _erasure(texts)
                if erasure:
                    yield index, erasure


def _erasure(texts: list[object]) -> Erasure | None:
    commitment, successor, recorded_by = (
        each.encode("utf-8", "surrogatepass") if isinstance(each, str) else None for each in texts
    )
    if commitment is None or not _HASH.fullmatch(commitment):
        return None
    if successor is not None and not _HASH.fullmatch(successor):
        return None
    return Erasure(commitment, successor, recorded_by)


def _merged(ranges: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    merged: list[tuple[int, int]] = []
    for first, until in sorted(ranges):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], until))
        else:
            merged.append((first, until))
    return tuple(merged)


def _remarks(told: Mapping[str, list[tuple[str, str]]]) -> Iterator[str]:
    for kind, what in ((PURGED, "records were purged"), (ERASED, "payloads were erased")):
        if events := told.get(kind):
            roles = ", ".join(sorted({role for role, _ in events}))
            last = max(time for _, time in events)
            count = "1 event" if len(events) == 1 else f"{len(events)} events"
            yield f"{what} on purpose, as {count} tell: by {roles}, the last at {last} UTC"
