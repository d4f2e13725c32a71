"""Databases that a subscription fills: with the engine's tables, or with the audit too."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from psycopg import errors

from step_audit.database import Connection, call
from step_audit.demo.embedded import EmbeddedServer
from step_audit.trust.verify import verify
from tests.support import replication
from tests.support.command import succeed
from tests.support.connect import connect
from tests.support.host import HOST, create_steps
from tests.support.install import install_audit
from tests.support.postgres import MAJOR
from tests.trust.attacks import (
    ANOMALIES,
    AUDIT,
    LEAVES,
    SALTS,
    SEALS,
    SUBTREES,
    change,
    missing,
)
from tests.trust.world import Found, History, World, seal

ENGINE = (HOST.tasks, HOST.named_steps, HOST.steps, HOST.transitions)
OURS = (AUDIT, ANOMALIES, LEAVES, SALTS, SUBTREES, SEALS)


def of_keys() -> list[str]:
    """What status says of keys to what a subscription fills; before 18 there are none."""
    if MAJOR < 18:
        return []
    tables = sorted((HOST.steps, HOST.tasks, HOST.transitions))
    if HOST.schema == HOST.audit_schema:
        tables = [table.rpartition(".")[2] for table in tables]
    return [
        f"subscription engine fills {', '.join(tables)}, to which the audit declares a key: its "
        "worker stops where the publisher truncates that: run step-audit attach"
    ]


@dataclass
class Sides:
    """A database in which an audited engine writes, and one that has an audit too."""

    server: EmbeddedServer
    publisher: Connection
    subscriber: Connection

    def subscribe(self, name: str, *tables: str) -> None:
        listed = ", ".join(tables)
        self.publisher.execute(f"CREATE PUBLICATION {name} FOR TABLE {listed}".encode())
        # A server cannot make the slot of a subscription to itself in the same statement.
        self.publisher.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (name,))
        dsn = self.server.dsn(self.publisher.info.dbname)
        self.subscriber.execute(
            f"CREATE SUBSCRIPTION {name} CONNECTION '{dsn}' PUBLICATION {name} "
            "WITH (create_slot = false, copy_data = false)".encode()
        )

    def catch_up(self) -> None:
        (row,) = self.publisher.execute(
            "SELECT pg_current_wal_insert_lsn()::text AS lsn"
        ).fetchall()
        confirmed = (
            "SELECT bool_and(confirmed_flush_lsn >= %s::pg_lsn) AS all_of_it "
            "FROM pg_replication_slots"
        )
        replication.wait_until(
            lambda: (
                self.publisher.execute(confirmed, (row["lsn"],)).fetchall() == [{"all_of_it": True}]
            ),
            "caught up",
        )


@pytest.fixture
def sides(server_folder: Path) -> Iterator[Sides]:
    folder = Path(tempfile.mkdtemp(dir=server_folder))
    folder.chmod(0o755)
    server = replication.start_primary(folder / "server", wal_level="logical")
    with ExitStack() as at_end:
        at_end.callback(shutil.rmtree, folder, ignore_errors=True)
        at_end.callback(server.remove)
        made = []
        for name in ("publisher", "subscriber"):
            replication.execute(server, f"CREATE DATABASE {name}")
            conn = at_end.enter_context(connect(server.dsn(name)))
            HOST.create(conn)
            install_audit(conn)
            made.append(conn)
        yield Sides(server, *made)


def test_a_subscriber_of_the_engine_has_an_audit_of_its_own(sides: Sides) -> None:
    """Its trigger does not fire for what a subscription writes: that is named, and backfilled."""
    sides.subscribe("engine", *ENGINE)
    world = World(sides.publisher, History(create_steps(sides.publisher, 12)))
    world.history.record(sides.publisher, 30)
    sides.catch_up()
    there = World(sides.subscriber, world.history)
    results = world.records
    assert seal(sides.publisher) == len(results) == 30
    note = world.sign()
    assert world.verify(note) == []

    (health,) = call(sides.subscriber, HOST.audit_schema, "get_step_audit_health")
    assert (health["attached"], health["problems"]) == (
        False,
        [
            "rows that subscription engine applies fire no trigger of step-audit: run step-audit "
            "backfill now and then, or audit at the publisher",
            *of_keys(),
        ],
    )
    assert (
        "rows that subscription engine applies fire no trigger of step-audit, and are missing "
        "until step-audit backfill; or audit at the publisher"
    ) in verify(sides.subscriber, HOST.audit_schema).remarks
    expected = {missing(each.transition) for each in results}
    assert set(there.verify(there.sign())) == expected
    there.conn.execute("CALL backfill_step_result_audit(20)")
    assert seal(there.conn) == 30
    kept = there.sign()
    assert there.verify(kept) == []
    succeed("attach", to=sides.subscriber)
    (health,) = call(sides.subscriber, HOST.audit_schema, "get_step_audit_health")
    assert len(health["problems"]) == 1
    # It is another log.
    there.key = world.key
    assert [each.finding for each in there.verify(note)] == ["rewritten log"]


def test_a_subscriber_of_the_audit_is_read_and_not_sealed(sides: Sides) -> None:
    sides.subscribe("engine", *ENGINE)
    sides.subscribe("audit", *OURS)
    world = World(sides.publisher, History(create_steps(sides.publisher, 12)))
    for number in (30, 20):
        world.history.record(sides.publisher, number)
        assert seal(sides.publisher) == number
    note = world.sign()
    world.history.record(sides.publisher, 5)
    sides.catch_up()
    (health,) = call(sides.subscriber, HOST.audit_schema, "get_step_audit_health")
    assert (health["attached"], health["problems"]) == (True, of_keys() or None)
    there = World(sides.subscriber, world.history, world.key)
    assert world.verify(note) == []
    assert there.verify(note) == []
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="a subscription writes"):
        seal(there.conn)

    record = there.sealed[7]
    with there.conn.transaction():
        change(
            there,
            f"DELETE FROM {AUDIT} WHERE workflow_step_result_audit_uuid = %s",
            record.audit,
        )
    assert set(there.verify(note)) == {
        Found("deleted record", record.audit, field="leaf 7"),
        missing(record.transition),
    }
