"""Each attack in each circumstance is found and named, and what is benign is silent."""

from __future__ import annotations

import pytest

from tests.trust.circumstances import CIRCUMSTANCES, Circumstance
from tests.trust.conftest import Worlds
from tests.trust.rows import ATTACKS, Attack, assert_found
from tests.trust.world import assert_all_sealed, seal

CELLS = [
    pytest.param(attack, circumstance, id=f"{attack.name}-{circumstance.name}")
    for circumstance in CIRCUMSTANCES.values()
    for attack in ATTACKS.values()
    if attack.name not in circumstance.lacks
]


@pytest.mark.parametrize(("attack", "circumstance"), CELLS)
def test_the_matrix(worlds: Worlds, attack: Attack, circumstance: Circumstance) -> None:
    world = worlds(circumstance.name)
    assert_found(world, attack)


@pytest.mark.parametrize("circumstance", CIRCUMSTANCES.values(), ids=list(CIRCUMSTANCES))
def test_a_log_goes_on_from_its_older_checkpoint(
    worlds: Worlds, circumstance: Circumstance
) -> None:
    world = worlds(circumstance.name)
    _ = world.records
    with world.conn.transaction(force_rollback=True):
        # Whatever the world's isolation is, it is sealed in this one.
        world.conn.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        assert world.verify(world.older) == []
        assert world.verify(world.newer, world.older) == []
        assert seal(world.conn) == 5
        assert_all_sealed(world.conn)
        assert world.verify(world.newer, world.older) == []
