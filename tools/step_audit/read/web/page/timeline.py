"""What happened to a task, in the order of time: transitions, changes, actions by hand."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, LiteralString, Self
from uuid import UUID

from step_audit.database import call_async, stream_async
from step_audit.read.web.pool import Conn

# Of a payload, on the page. The rest is a link away.
SHOWN_CHARACTERS = 10_000

# Transitions on a page, and so many changes and actions of their time.
PAGE = 200

Kind = Literal["transition", "change", "action"]


@dataclass(frozen=True)
class Place:
    """Where a page ended."""

    created_at: datetime
    sort_key: int
    transition_uuid: UUID

    def __str__(self) -> str:
        """As it stands in a link."""
        time = self.created_at.isoformat().removesuffix("+00:00")
        return f"{time}_{self.sort_key}_{self.transition_uuid}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The place of such text.

        Raises:
            ValueError: the text is none.
        """
        time, sort_key, transition = text.split("_")
        created_at = datetime.fromisoformat(time)
        if created_at.tzinfo or not -(2**63) <= int(sort_key) < 2**63:
            raise ValueError("this is no place in a timeline")
        return cls(created_at.replace(tzinfo=UTC), int(sort_key), UUID(transition))


@dataclass(frozen=True)
class Entry:
    """Something that happened; ``what`` has the columns of the SQL function that lists it."""

    kind: Kind
    at: datetime
    what: Any


@dataclass(frozen=True)
class Timeline:
    """A page of what happened, oldest first; where to go on, and whether some was left out."""

    entries: list[Entry]
    following: Place | None
    is_cut: bool


async def read_timeline(
    conn: Conn, schema: str | None, task_uuid: UUID, after: Place | None
) -> Timeline:
    """A page of what happened to a task, from the transition after ``after`` on."""
    transitions = await _read(
        conn,
        schema,
        "list_task_transitions",
        p_task_uuid=task_uuid,
        p_after_created_at=after.created_at.replace(tzinfo=None) if after else None,
        p_after_sort_key=after.sort_key if after else None,
        p_after_transition_uuid=after.transition_uuid if after else None,
        p_payload_characters=SHOWN_CHARACTERS,
        p_limit=PAGE + 1,
    )
    following = None
    if len(transitions) > PAGE:
        last = transitions[PAGE - 1]
        following = Place(
            last["created_at"], last["sort_key"], last["workflow_step_transition_uuid"]
        )
    changes = await _read(
        conn,
        schema,
        "list_step_audit_changes",
        p_task_uuid=task_uuid,
        p_recorded_from=after.created_at if after else None,
        p_recorded_until=following.created_at if following else None,
        p_limit=PAGE + 1,
    )
    actions = await _read(
        conn,
        schema,
        "list_operator_actions",
        p_task_uuid=task_uuid,
        p_recorded_from=after.created_at if after else None,
        p_recorded_until=following.created_at if following else None,
        p_limit=PAGE + 1,
    )
    entries = [Entry("transition", row["created_at"], row) for row in transitions[:PAGE]]
    entries += [Entry("change", row["recorded_at"], row) for row in reversed(changes[:PAGE])]
    entries += [Entry("action", row["recorded_at"], row) for row in reversed(actions[:PAGE])]
    is_cut = len(changes) > PAGE or len(actions) > PAGE
    # What a transition led to comes after it, also in the same instant.
    return Timeline(sorted(entries, key=lambda entry: entry.at), following, is_cut)


async def read_payload(
    conn: Conn, schema: str | None, task_uuid: UUID, transition_uuid: UUID
) -> str | None:
    """The whole payload of a transition as it stands; None where there is none."""
    found = await call_async(
        conn,
        schema,
        "list_task_transitions",
        p_task_uuid=task_uuid,
        p_transition_uuid=transition_uuid,
        p_limit=1,
    )
    return found[0]["payload"] if found else None


async def read_changed_payload(
    conn: Conn, schema: str | None, task_uuid: UUID, change_uuid: UUID
) -> str | None:
    """The whole payload of a version that stands no more; None where there is none."""
    found = await call_async(
        conn,
        schema,
        "list_step_audit_changes",
        p_task_uuid=task_uuid,
        p_before_change_uuid=UUID(int=min(change_uuid.int + 1, 2**128 - 1)),
        p_limit=1,
    )
    payload: str | None = next(
        (row["result"] for row in found if row["step_audit_change_uuid"] == change_uuid), None
    )
    return payload


async def _read(
    conn: Conn, schema: str | None, function: LiteralString, **arguments: object
) -> list[dict[str, Any]]:
    """The rows of a function with their times in UTC, and no more of a payload than is shown."""
    read = []
    async with aclosing(stream_async(conn, schema, function, **arguments)) as rows:
        async for row in rows:
            if "result" in row:
                whole = row.pop("result")
                row["payload"] = whole and whole[:SHOWN_CHARACTERS]
                row["payload_characters"] = whole and len(whole)
            times = {name: at.replace(tzinfo=UTC) for name, at in row.items() if _is_time(at)}
            read.append(row | times)
    return read


def _is_time(value: object) -> bool:
    return isinstance(value, datetime)
