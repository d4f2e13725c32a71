"""What an erasure left behind stands as it left it, until a change tells otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple
from uuid import UUID

from step_audit.trust.verify.accounts import Accounts, is_erased
from step_audit.trust.verify.copying import Row
from step_audit.trust.verify.fields import RESULT_STATES
from step_audit.trust.verify.records import without_zone
from step_audit.trust.verify.report import Finding


class Left(NamedTuple):
    """How a transition stands, or stood before a change: fields as COPY prints them.

    ``change_uuid`` and ``leaf_index`` are None of how it stands. ``metadata`` that is longer than
    what an erasure leaves may be any other word.
    """

    transition_uuid: bytes | None
    change_uuid: bytes | None
    leaf_index: bytes | None
    step_uuid: bytes | None
    from_state: bytes | None
    to_state: bytes | None
    sort_key: bytes | None
    created_at: bytes | None
    metadata: bytes | None


def find_altered_since(
    accounts: Accounts, erased: Mapping[bytes, bytes], versions: Iterable[Row]
) -> Iterator[Finding]:
    """Transitions that are not as their last erasure left them, and of which no change tells.

    An erasure erases all changes that are there, so that the first which is not erased has kept
    what the erasure left.

    Args:
        accounts: of the log.
        erased: transitions with a record that is erased, and its leaf.
        versions: of them, as :class:`Left` has it.
    """
    behind: dict[bytes, Left] = {}
    for row in versions:
        version = Left(*row)
        key = version.transition_uuid or b""
        if version.change_uuid is None:
            behind.setdefault(key, version)
        elif accounts.erasure(version.leaf_index) is None:
            first = behind.get(key, version)
            if first.change_uuid is None or version.change_uuid <= first.change_uuid:
                behind[key] = version
    for key, leaf in erased.items():
        if key in accounts.left:
            stored = _difference(accounts.left[key], behind.get(key))
        else:
            stored = "by no erasure of its transition"
        if stored:
            yield Finding(
                "altered record",
                UUID(key.decode()),
                field=f"leaf {leaf.decode()}",
                stored=stored,
                expected="the erasure of it",
            )


def _difference(left: list[object] | None, version: Left | None) -> str | None:
    """What a version has otherwise than an erasure left it."""
    if left is None:
        is_filled = (
            version is not None
            and version.change_uuid is None
            and version.to_state in RESULT_STATES
            and not is_erased(version.metadata)
        )
        return "of a transition with metadata" if is_filled else None
    if version is None:
        return "of a transition that is gone"
    if not is_erased(version.metadata):
        return "of a transition with metadata"
    return None if _evidence(version) == left else "of a transition that stands otherwise"


def _evidence(version: Left) -> list[object]:
    """A version's keys, states, place and time, as the event of an erasure has them."""
    created_at = without_zone(version.created_at)
    return [
        *(
            None if each is None else each.decode()
            for each in (
                version.transition_uuid,
                version.step_uuid,
                version.from_state,
                version.to_state,
            )
        ),
        None if version.sort_key is None else int(version.sort_key),
        None if created_at is None else created_at.decode().replace(" ", "T", 1),
    ]
