"""Databases for tests, on a server of this run (one per xdist worker).

``empty`` is a connection to a fresh database; ``host`` to one with the engine's tables; ``conn`` to
one where step-audit is installed too. All are in autocommit, and superuser's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from pytest_postgresql import factories

from step_audit.database import Connection
from step_audit.demo.embedded import EmbeddedServer, make_reachable
from tests.support.host import HOST
from tests.support.install import install_audit
from tests.support.postgres import server_binaries


@dataclass(frozen=True)
class RunningServer:
    """What pytest-postgresql asks of a server."""

    server: EmbeddedServer
    host: str
    port: int
    user: str = "postgres"
    password: str = ""
    options: str = HOST.options
    template_dbname: str = "template1"
    maintenance_dbname: str = "postgres"


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A folder that the server's user may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="step-audit-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="session")
def new_server(server_folder: Path) -> Iterator[Any]:
    """Make servers that a test may stop, kill and start again."""
    binaries = make_reachable(server_binaries(), server_folder)
    servers: list[EmbeddedServer] = []

    def create(**settings: str) -> EmbeddedServer:
        server = EmbeddedServer(server_folder / f"server{len(servers)}", binaries)
        servers.append(server)
        server.create(settings)
        return server

    yield create
    for server in servers:
        server.remove()


@pytest.fixture(scope="session")
def pg_server(new_server: Any) -> RunningServer:
    """The server of most tests."""
    server = new_server(max_prepared_transactions="10", timezone="UTC")
    return RunningServer(server, str(server.folder), server.port)


def load_host(**kwargs: Any) -> None:
    with psycopg.connect(**kwargs | {"autocommit": True}) as conn:
        HOST.create(conn)


def load_audit(**kwargs: Any) -> None:
    with psycopg.connect(**kwargs | {"autocommit": True}, row_factory=dict_row) as conn:
        install_audit(conn)


host_template = factories.postgresql_noproc(dbname="host", depends_on="pg_server", load=[load_host])
audited_template = factories.postgresql_noproc(
    dbname="audited", depends_on="pg_server", load=[load_host, load_audit]
)
empty_database = factories.postgresql("pg_server", dbname="empty")
host_database = factories.postgresql("host_template")
audited_database = factories.postgresql("audited_template")


@pytest.fixture
def empty(empty_database: psycopg.Connection[Any]) -> Connection:
    return _plain(empty_database)


@pytest.fixture
def host(host_database: psycopg.Connection[Any]) -> Connection:
    return _plain(host_database)


@pytest.fixture
def conn(audited_database: psycopg.Connection[Any]) -> Connection:
    return _plain(audited_database)


def _plain(database: psycopg.Connection[Any]) -> Connection:
    database.autocommit = True
    database.row_factory = dict_row
    return database
