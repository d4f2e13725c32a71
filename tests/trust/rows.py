"""All rows of the matrix, and what each cell of it asks."""

from __future__ import annotations

from collections import Counter

from tests.trust import (
    attacks_of_changes,
    attacks_of_owner,
    attacks_of_the_log,
    attacks_of_views,
    ordinary,
)
from tests.trust.attacks import ATTACKS, Attack
from tests.trust.world import Found, World

__all__ = [
    "ATTACKS",
    "Attack",
    "assert_found",
    "attacks_of_changes",
    "attacks_of_owner",
    "attacks_of_the_log",
    "attacks_of_views",
    "ordinary",
]


def assert_found(world: World, attack: Attack) -> None:
    """What is done is found, and nothing else; the world is as before afterwards."""
    _ = world.records
    with world.conn.transaction(force_rollback=True):
        expected = attack.commit(world)
        if isinstance(expected, str):
            found = world.verify(expected)
            expected = [Found("refused", field="NotProvedError")]
        else:
            found = world.verify()
            expected = list(expected)
        assert bool(expected) is not attack.benign
        assert Counter(found) == Counter(expected)
