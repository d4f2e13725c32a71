"""Each engine in each operation: it is served whole, or refused with reason and remedy."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.hosts.conftest import NewWorld
from tests.hosts.engines import ENGINES, Engine
from tests.hosts.operations import REFUSED, SERVED, Operation
from tests.support.postgres import MAJOR

CELLS = [
    pytest.param(engine, operation, id=f"{engine.name}-{name}")
    for engine in ENGINES.values()
    if engine.since <= MAJOR
    for name, operation in (REFUSED if engine.refused else SERVED).items()
]


@pytest.mark.parametrize(("engine", "operation"), CELLS)
def test_the_matrix(
    new_world: NewWorld,
    record_property: Callable[[str, object], None],
    engine: Engine,
    operation: Operation,
) -> None:
    operation.run(new_world(engine, operation.installed))
    if operation is REFUSED["install"]:
        record_property("outcome", f"refused: {engine.refused}".format(database="..."))
