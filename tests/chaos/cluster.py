"""The servers: which of them is the primary now, and what each failover has cost."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from step_audit.database import Connection
from step_audit.demo.embedded import EmbeddedServer
from step_audit.errors import StepAuditError
from tests.support import replication
from tests.support.connect import connect

# A server that does not come back for so long will not.
PATIENCE = 90


def is_of_fault(error: Exception) -> bool:
    """Whether an error is one that lost connections, full disks and late standbys bring about."""
    said = str(error)
    return isinstance(error, psycopg.OperationalError) or any(
        reason in said
        for reason in (
            "File too large",
            "has not flushed the log",
            # A COPY says so by an error of a wider class.
            "server closed the connection",
        )
    )


@dataclass(frozen=True)
class Session:
    """A connection to the primary, and how many failovers there had been."""

    conn: Connection
    generation: int

    @property
    def is_lost(self) -> bool:
        return self.conn.closed

    def position(self) -> int:
        """Where the WAL ends: what has been written stands below."""
        (row,) = self.conn.execute(
            "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint AS position"
        ).fetchall()
        return int(row["position"])

    def last_position(self) -> int | None:
        """The same, or None where the session is lost; then it is closed."""
        try:
            return self.position()
        except psycopg.Error:
            self.conn.close()
            return None


@dataclass
class Cluster:
    """A primary and its standby.

    ``flushed`` tells for each failover up to which position of the WAL the standby had flushed what
    it received; whatever comes later is lost by it.
    """

    primary: EmbeddedServer
    standby: EmbeddedServer
    flushed: list[int] = field(default_factory=list)

    @property
    def generation(self) -> int:
        return len(self.flushed)

    def connect(self, name: str) -> Session:
        """Connect to the primary, as soon as there is one."""
        deadline = time.monotonic() + PATIENCE
        while True:
            generation = self.generation
            with suppress(psycopg.OperationalError):
                conn = connect(self.primary.dsn(), application_name=name, connect_timeout=10)
                return Session(conn, generation)
            if time.monotonic() > deadline:
                raise StepAuditError(f"{name} could not connect to the primary for {PATIENCE} s")
            time.sleep(0.02)

    def fail_over(self, flushed: str) -> None:
        """Kill the primary, and promote the standby that was cut off from it."""
        replication.kill(self.primary)
        replication.promote(self.standby)
        self.flushed.append(_position(flushed))
        self.primary, self.standby = self.standby, self.primary

    def explanations(self) -> Iterator[str]:
        """What Postgres itself has done wrong, as the logs of both servers tell."""
        for server in (self.primary, self.standby):
            for lost in sorted(lost_transactions((server.folder / "log").read_text())):
                yield (
                    f"PostgreSQL has lost the prepared transaction {lost}, as its log says: see "
                    "'What PostgreSQL loses' in tests/chaos/README.md"
                )

    def remove(self) -> None:
        """Delete both servers."""
        for server in (self.primary, self.standby):
            server.remove()


def start_cluster(folder: Path) -> Cluster:
    """Start both, with segments of WAL so small that tables soon outgrow them."""
    settings: dict[str, Any] = {"restart_after_crash": "on", "autovacuum_naptime": "5s"}
    primary = replication.start_primary(folder / "one", "--wal-segsize=1", **settings)
    try:
        return Cluster(primary, replication.start_standby(primary, folder / "two"))
    except BaseException:
        primary.remove()
        raise


def lost_transactions(log: str) -> set[str]:
    """Prepared transactions whose files a server did not remove, and then took for restored."""
    removed = re.findall(r"removing future two-phase state file for transaction (\d+)", log)
    refused = re.findall(r"could not recover two-phase state file for transaction (\d+)", log)
    return {*removed} & {*refused}


def _position(lsn: str) -> int:
    high, low = lsn.split("/")
    return int(high, 16) << 32 | int(low, 16)
