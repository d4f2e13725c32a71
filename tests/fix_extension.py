"""A server whose extension folder is ours alone, and databases on it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from step_audit.database import Connection
from step_audit.demo.embedded import EmbeddedServer
from step_audit.setup.script import write_extension
from step_audit.setup.sources import load_sources
from tests.support.connect import connect
from tests.support.postgres import server_binaries

NewDatabase = Callable[[], Connection]


@pytest.fixture(scope="session")
def extension_server(server_folder: Path) -> Iterator[EmbeddedServer]:
    """A server with programs of its own: CREATE EXTENSION reads from the folder beside them."""
    package = server_binaries().parents[1]
    copies = server_folder / "own"
    for tree in package.parent.glob(f"{package.name}*"):
        shutil.copytree(tree, copies / tree.name, symlinks=True, copy_function=_link_or_copy)
    binaries = copies / server_binaries().relative_to(package.parent)
    server = EmbeddedServer(server_folder / "extended", binaries)
    server.create({"timezone": "UTC"})
    yield server
    server.remove()


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@pytest.fixture(scope="session")
def _extension_folder(extension_server: EmbeddedServer) -> Path:
    with psycopg.connect(extension_server.dsn()) as conn:
        row = conn.execute("SELECT setting FROM pg_config WHERE name = 'SHAREDIR'").fetchone()
    assert row is not None
    return Path(row[0]) / "extension"


@pytest.fixture
def extension_folder(_extension_folder: Path) -> Path:
    """Where that server looks for extensions; ours is there, in its current release."""
    write_extension(load_sources(), _extension_folder)
    return _extension_folder


_NUMBERS = count()


@pytest.fixture
def new_database(extension_server: EmbeddedServer, extension_folder: Path) -> Iterator[NewDatabase]:
    """Make empty databases on a server that knows the extension."""
    with ExitStack() as open_connections:

        def create() -> Connection:
            name = f"extended{next(_NUMBERS)}"
            with connect(extension_server.dsn()) as any_database:
                any_database.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            return open_connections.enter_context(connect(extension_server.dsn(name)))

        yield create
