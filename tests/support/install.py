"""step-audit comes to the engine's tables, in the layout under test."""

from __future__ import annotations

from typing import Any

import psycopg

from step_audit.database import Connection
from step_audit.setup import installer
from step_audit.setup.script import Target
from step_audit.setup.sources import Sources, load_sources
from tests.support.host import HOST, Host


def install_audit(
    conn: Connection,
    sources: Sources | None = None,
    host: Host = HOST,
    lock_timeout: str = "5s",
    enforce_keys: bool | None = None,
) -> bool:
    """Install where the layout has it; false where all was there already."""
    target = Target(
        schema=host.audit_schema,
        engine_schema=host.schema,
        lock_timeout=lock_timeout,
        enforce_keys=enforce_keys,
    )
    return installer.install(conn, sources or load_sources(), target).changed


def uninstall_audit(conn: Connection, lock_timeout: str = "5s") -> None:
    """Uninstall, and keep the audit rows."""
    installer.uninstall(conn, HOST.audit_schema, drop_data=False, lock_timeout=lock_timeout)


def create_extension(
    conn: psycopg.Connection[Any], version: str | None = None, host: Host = HOST
) -> None:
    """Create the extension where the layout has it."""
    (schema, *_) = host.schemas
    conn.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}".encode())
    at = f" VERSION '{version}'" if version else ""
    conn.execute(f"CREATE EXTENSION step_audit SCHEMA {schema}{at}".encode())
