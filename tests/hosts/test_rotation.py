"""A short form of the matrix: each engine in one operation, each operation with some engines."""

from __future__ import annotations

import pytest

from tests.hosts.conftest import NewWorld
from tests.hosts.engines import ENGINES, Engine
from tests.hosts.operations import REFUSED, SERVED, Operation
from tests.support.postgres import MAJOR


def _rotate() -> list[object]:
    cells: list[object] = []
    for number, engine in enumerate(each for each in ENGINES.values() if each.since <= MAJOR):
        operations = list((REFUSED if engine.refused else SERVED).items())
        name, operation = operations[number % len(operations)]
        cells.append(pytest.param(engine, operation, id=f"{engine.name}-{name}"))
    return cells


@pytest.mark.parametrize(("engine", "operation"), _rotate())
def test_in_rotation(new_world: NewWorld, engine: Engine, operation: Operation) -> None:
    operation.run(new_world(engine, operation.installed))
