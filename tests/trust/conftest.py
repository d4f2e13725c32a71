"""Worlds of the matrix, made when first asked for; and the matrix, printed when it was run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from step_audit.database import Connection
from step_audit.demo.embedded import EmbeddedServer, make_reachable
from tests.fix_database import RunningServer
from tests.support import replication
from tests.support.connect import connect
from tests.support.matrix import FAILED, cells, write_matrix
from tests.support.postgres import MAJOR, server_binaries
from tests.trust.circumstances import CIRCUMSTANCES, Workshop
from tests.trust.rows import ATTACKS
from tests.trust.world import World

Worlds = Callable[[str], World]


@pytest.fixture(scope="session")
def workshop(
    pg_server: RunningServer, server_folder: Path, request: pytest.FixtureRequest
) -> Iterator[Workshop]:
    """New databases and servers, for the whole session."""
    numbers = count()
    with ExitStack() as at_end:

        def database_of(server: EmbeddedServer) -> Connection:
            name = f"world{next(numbers)}"
            with connect(server.dsn()) as any_database:
                any_database.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            return at_end.enter_context(connect(server.dsn(name)))

        def extended_database() -> Connection:
            server = request.getfixturevalue("extension_server")
            _write_extension(request.getfixturevalue("_extension_folder"))
            return database_of(server)

        def new_server(major: int | None) -> EmbeddedServer:
            folder = server_folder / f"own{next(numbers)}"
            folder.mkdir(mode=0o755)
            binaries = make_reachable(server_binaries(major or MAJOR), folder)
            server = EmbeddedServer(folder / "server", binaries)
            server.create({"timezone": "UTC"})
            at_end.callback(server.remove)
            return server

        def new_pair() -> tuple[EmbeddedServer, Callable[[], EmbeddedServer]]:
            folder = server_folder / f"pair{next(numbers)}"
            folder.mkdir(mode=0o755)
            primary = replication.start_primary(folder / "primary")
            at_end.callback(primary.remove)

            def follow() -> EmbeddedServer:
                standby = replication.start_standby(primary, folder / "standby")
                at_end.callback(standby.remove)
                return standby

            return primary, follow

        yield Workshop(
            lambda: database_of(pg_server.server),
            extended_database,
            new_server,
            new_pair,
            at_end.enter_context,
        )


def _write_extension(folder: Path) -> None:
    from step_audit.setup.script import write_extension  # noqa: PLC0415
    from step_audit.setup.sources import load_sources  # noqa: PLC0415

    write_extension(load_sources(), folder)


@pytest.fixture(scope="session")
def worlds(workshop: Workshop) -> Worlds:
    """The world of a circumstance; the same for all who ask."""
    made: dict[str, World] = {}
    begun: set[str] = set()

    def find(name: str) -> World:
        if name not in made:
            assert name not in begun, "this world could not be made"
            begun.add(name)
            made[name] = CIRCUMSTANCES[name].prepare(workshop)
        return made[name]

    return find


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what became of each cell."""
    pattern = r"test_matrix\.py::test_the_matrix\[(?P<attack>\w+)-(?P<circumstance>\w+)\]"
    found: dict[tuple[str, str], str] = {}
    for cell in cells(terminalreporter, pattern):
        attack, circumstance = cell.names["attack"], cell.names["circumstance"]
        good = "silent" if ATTACKS[attack].benign else "found"
        found[attack, circumstance] = good if cell.passed else FAILED
    if found:
        write_matrix(
            terminalreporter,
            "attacks by circumstances",
            ATTACKS,
            CIRCUMSTANCES,
            lambda row, column: found.get((row, column)),
        )
