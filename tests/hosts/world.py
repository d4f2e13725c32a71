"""A database with an engine of the matrix: its owner installs, its worker writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import sql
from psycopg.pq import TransactionStatus

from step_audit.database import Connection
from tests.hosts.engines import OWNER, SEEING_OWNER, WORKER, Engine
from tests.support.audit import AuditRow, audit_rows
from tests.support.command import Done, run, status_of, succeed
from tests.support.connect import dsn_of
from tests.support.host import Host, Transition
from tests.support.inventory import Inventory, take_inventory
from tests.support.results import record_results


@dataclass
class World:
    """The database of an engine. ``conn`` is a superuser's, for looking on."""

    engine: Engine
    conn: Connection

    @property
    def host(self) -> Host:
        return self.engine.host

    @property
    def dsn(self) -> str:
        """How the owner of the engine's tables connects."""
        return dsn_of(self.conn, user=self.engine.owner)

    def run(self, *arguments: str) -> str:
        """Run the command as the owner of the engine's tables; it succeeds."""
        return succeed(*arguments, "--dsn", self.dsn)

    def run_by_superuser(self, *arguments: str) -> str:
        return succeed(*arguments, to=self.conn)

    def try_to(self, *arguments: str) -> Done:
        """Run the command as the owner of the engine's tables."""
        return run(*arguments, "--dsn", self.dsn)

    def install(self, *arguments: str) -> str:
        return self.run("install", *self.engine.options, *arguments)

    @contextmanager
    def as_role(self, role: str) -> Iterator[Connection]:
        """What is done here is done by a role, of the tenant that row-level security shows."""
        self.conn.execute(f"SET SESSION AUTHORIZATION {role}".encode())
        self.conn.execute("SET engine.tenant = 'acme'")
        try:
            yield self.conn
        finally:
            if self.conn.info.transaction_status is not TransactionStatus.INERROR:
                self.conn.execute("RESET SESSION AUTHORIZATION; RESET engine.tenant")

    def migrate(self, migration: str) -> None:
        """Run a migration of the engine, as the owner of its tables."""
        with self.as_role(self.engine.owner), self.conn.transaction():
            path = sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(self.host.schema))
            self.conn.execute(path)
            self.conn.execute(migration.encode())

    def record(self, count: int = 4) -> list[Transition]:
        """The worker writes plain results; gives them."""
        with self.as_role(WORKER):
            return record_results(self.conn, count, self.host)

    def rows(self) -> dict[UUID, AuditRow]:
        """The audit rows whose transition is there."""
        return audit_rows(self.conn, self.host)

    def audited(self) -> set[UUID]:
        """The transitions of all audit rows, also of those whose transition is gone."""
        found = self.conn.execute(
            "SELECT workflow_step_transition_uuid AS t FROM tasker_workflow_step_result_audit"
        ).fetchall()
        return {row["t"] for row in found}

    def events(self) -> set[str]:
        """The kinds of events that there are."""
        found = self.conn.execute("SELECT kind FROM step_audit_events").fetchall()
        return {row["kind"] for row in found}

    def delete(self, transitions: set[UUID]) -> None:
        """Delete transitions, and first the engine's own audit of them."""
        for table in (*self.host.own_audit, self.host.transitions):
            deleted = self.conn.execute(
                f"DELETE FROM {table} WHERE workflow_step_transition_uuid = ANY(%s)".encode(),
                (list(transitions),),
            )
            assert deleted.rowcount == len(transitions)

    def delete_task(self, task: UUID) -> None:
        """Delete a task with all that belongs to it, unless it was deleted before."""
        host = self.host
        steps = f"SELECT workflow_step_uuid FROM {host.steps} WHERE task_uuid = %s"
        of_steps = () if self.engine.cascades else (*host.own_audit, host.transitions)
        for table in of_steps:
            self.conn.execute(
                f"DELETE FROM {table} WHERE workflow_step_uuid IN ({steps})".encode(), (task,)
            )
        for table in (host.tasks,) if self.engine.cascades else (host.steps, host.tasks):
            self.conn.execute(f"DELETE FROM {table} WHERE task_uuid = %s".encode(), (task,))

    def count_transitions(self) -> int:
        return self.conn.execute(f"SELECT FROM {self.host.transitions}".encode()).rowcount

    def partitions(self) -> list[str]:
        """The partitions of the transitions."""
        found = self.conn.execute(
            "SELECT inhrelid::regclass::text AS name FROM pg_inherits "
            "WHERE inhparent = %s::regclass",
            (self.host.transitions,),
        ).fetchall()
        return [row["name"] for row in found]

    def has_schema(self, name: str) -> bool:
        found = self.conn.execute("SELECT FROM pg_namespace WHERE nspname = %s", (name,))
        return bool(found.rowcount)

    def inventory(self) -> Inventory:
        return take_inventory(self.conn, self.host)

    def status(self, *options: str) -> dict[str, Any]:
        return status_of(None, *options, "--dsn", self.dsn)


def create_engine(conn: Connection, engine: Engine) -> None:
    """Create the engine's tables as their owner, and let the worker write them."""
    host = engine.host
    schema = sql.Identifier(host.schema)
    with conn.transaction():
        conn.execute(f"SET LOCAL ROLE {engine.owner}".encode())
        conn.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
        conn.execute(sql.SQL("SET LOCAL search_path = {}").format(schema))
        conn.execute(host.ddl.encode())
        conn.execute(engine.change.encode())
    grant = sql.SQL(
        "GRANT USAGE ON SCHEMA {schema} TO {worker}; "
        "GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA {schema} TO {worker}"
    )
    conn.execute(grant.format(schema=schema, worker=sql.Identifier(WORKER)))


def create_roles(conn: Connection) -> None:
    """Create the roles of the matrix on a server, unless they are there."""
    known = {row["rolname"] for row in conn.execute("SELECT rolname FROM pg_roles")}
    for role, attributes in ((OWNER, ""), (SEEING_OWNER, "BYPASSRLS"), (WORKER, "")):
        if role not in known:
            conn.execute(f"CREATE ROLE {role} LOGIN {attributes}".encode())
