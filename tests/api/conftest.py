"""The service on the database of ``conn``, and who asks it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from step_audit.database import Connection
from step_audit.read.web import create_app
from tests.support.connect import dsn_of
from tests.support.service import serving


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def address(conn: Connection) -> Iterator[str]:
    """Where the service listens."""
    with serving(create_app(dsn_of(conn))) as address:
        yield address


@pytest.fixture
def http(address: str) -> Iterator[httpx.Client]:
    """A plain HTTP client of the service."""
    with httpx.Client(base_url=address, timeout=30) as client:
        yield client
