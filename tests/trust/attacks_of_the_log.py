"""Rows of the matrix: what is done to the seals, which no leaf covers, with a checkpoint kept.

Each is done by one who owns all but the kept checkpoint: he edits rows past the guards, and what he
inserts is sealed by the functions of the audit themselves.
"""

from __future__ import annotations

from tests.trust.attacks import (
    SEALS,
    altered_seal,
    attack,
    change,
    forge_transition,
    insert_audit,
    inserted,
    old_xid,
)
from tests.trust.world import Found, World, seal


def edit_newest(world: World, assignments: str) -> list[Found]:
    """Edit the seal that the newest checkpoint signs."""
    change(world, f"UPDATE {SEALS} SET {assignments} WHERE tree_size = %s", world.size)
    return [altered_seal(world)]


@attack
def edit_time_of_seal(world: World) -> list[Found]:
    return edit_newest(world, "sealed_at = sealed_at + interval '1 microsecond'")


@attack
def edit_place_of_seal(world: World) -> list[Found]:
    """So that verify would say that it cannot look for what was inserted."""
    return edit_newest(world, "place = 'cluster 1 table 1'")


@attack
def edit_waiting_of_seal(world: World) -> list[Found]:
    """So that what is inserted later seems to have waited."""
    return edit_newest(world, "waiting = ARRAY[gen_random_uuid()]")


@attack
def empty_waiting_of_seal(world: World) -> list[Found]:
    return edit_newest(world, "waiting = '{}'")


@attack
def put_null_into_waiting_of_seal(world: World) -> list[Found]:
    """A list that no program reads as keys."""
    return edit_newest(world, "waiting = '{NULL}'")


@attack
def edit_xmax_of_seal(world: World) -> list[Found]:
    return edit_newest(
        world,
        "covered = (pg_snapshot_xmin(covered)::text || ':' || "
        "pg_snapshot_xmax(covered)::text::bigint + 1 || ':')::pg_snapshot",
    )


@attack
def delete_signed_seal(world: World) -> list[Found]:
    """With another in its place, which sealed more."""
    assert seal(world.conn) == len(world.unsealed)
    change(world, f"DELETE FROM {SEALS} WHERE tree_size = %s", world.size)
    return [altered_seal(world)]


@attack
def seal_behind_the_signed_seal(world: World) -> list[Found]:
    """The signed seal is emptied, so that the next one takes what was inserted."""
    insert_audit(world, forge_transition(world), old_xid(world))
    change(world, f"UPDATE {SEALS} SET covered = NULL WHERE tree_size = %s", world.size)
    assert seal(world.conn) == len(world.unsealed) + 1
    return [altered_seal(world)]


@attack
def seal_behind_a_later_seal(world: World) -> list[Found]:
    """The signed seal stays as it is; a later one is emptied, and seems to be made elsewhere."""
    xid = old_xid(world)
    assert seal(world.conn) == len(world.unsealed)
    audit, _ = insert_audit(world, forge_transition(world), xid)
    change(
        world,
        f"UPDATE {SEALS} SET covered = NULL, place = 'elsewhere' WHERE tree_size > %s",
        world.size,
    )
    assert seal(world.conn) == 1
    return [inserted(audit, xid)]
