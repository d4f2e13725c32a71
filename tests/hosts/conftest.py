"""Databases of the matrix's engines, cloned from the first of each; and the matrix, printed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from typing import Any

import pytest
from psycopg import sql

from tests.fix_database import RunningServer
from tests.fix_extension import NewDatabase
from tests.hosts.engines import ENGINES, Engine
from tests.hosts.operations import REFUSED, SERVED
from tests.hosts.world import World, create_engine, create_roles
from tests.support.connect import connect, dsn_of
from tests.support.matrix import FAILED, cells, write_matrix

# Make a world: the engine, and whether step-audit is installed.
NewWorld = Callable[[Engine, bool], World]
# Make one for an engine that is not there yet.
EmptyWorld = Callable[[Engine], World]

_NUMBERS = count()


@pytest.fixture(scope="session")
def _templates(pg_server: RunningServer) -> dict[tuple[str, bool], str]:
    with connect(pg_server.server.dsn()) as conn:
        create_roles(conn)
    return {}


@pytest.fixture
def new_world(
    pg_server: RunningServer, _templates: dict[tuple[str, bool], str]
) -> Iterator[NewWorld]:
    """Make worlds; each is a database of its own."""
    server = pg_server.server

    def create_database(template: str, owner: str) -> str:
        name = f"matrix{next(_NUMBERS)}"
        with connect(server.dsn()) as conn:
            conn.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(
                    *map(sql.Identifier, (name, template, owner))
                )
            )
        return name

    def drop_database(name: str) -> None:
        with connect(server.dsn()) as conn:
            conn.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))

    def template_of(engine: Engine, installed: bool) -> str:
        if (engine.name, installed) not in _templates:
            if installed:
                database = create_database(template_of(engine, False), owner_of(engine))
            else:
                database = create_database("template1", engine.owner)
            with connect(server.dsn(database), engine.host) as conn:
                if installed:
                    World(engine, conn).install()
                else:
                    create_engine(conn, engine)
            _templates[engine.name, installed] = database
        return _templates[engine.name, installed]

    def owner_of(engine: Engine) -> str:
        return engine.owner if engine.owns_database else "postgres"

    with ExitStack() as at_end:

        def create(engine: Engine, installed: bool) -> World:
            database = create_database(template_of(engine, installed), owner_of(engine))
            at_end.callback(drop_database, database)
            conn = at_end.enter_context(connect(server.dsn(database), engine.host))
            return World(engine, conn)

        yield create


@pytest.fixture
def empty_world(new_database: NewDatabase) -> Iterator[EmptyWorld]:
    """Make empty databases for an engine or its backup, on a server that knows the extension."""
    with ExitStack() as at_end:

        def create(engine: Engine) -> World:
            conn = new_database()
            create_roles(conn)
            conn.execute(f"ALTER DATABASE {conn.info.dbname} OWNER TO {engine.owner}".encode())
            return World(engine, at_end.enter_context(connect(dsn_of(conn), engine.host)))

        yield create


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what became of each cell, and why an engine is refused."""
    pattern = r"test_matrix\.py::test_the_matrix\[(?P<engine>.+)-(?P<operation>[\w/ ]+)\]"
    found: dict[tuple[str, str], str] = {}
    for cell in cells(terminalreporter, pattern):
        said = cell.noted.get("outcome", "works")
        found[cell.names["engine"], cell.names["operation"]] = said if cell.passed else FAILED
    if not found:
        return
    write_matrix(
        terminalreporter,
        "hosts by operations",
        ENGINES,
        {**SERVED, **REFUSED},
        lambda row, column: found.get((row, column), "").partition(":")[0] or None,
    )
    for (engine, _), said in found.items():
        if said.startswith("refused: "):
            terminalreporter.write_line(f"{engine}: {said.removeprefix('refused: ')}")
