"""The gate: what an audited transition costs, counted, against a reference of the same run.

The reference is an audit row that the application writes itself, see ``reference.sql``. Costs are
those beyond a transition that nobody audits.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from step_audit.database import Connection
from step_audit.demo.embedded import EmbeddedServer
from step_audit.setup.sources import load_sources
from tests.performance.counters import Counts, count
from tests.support.connect import connect
from tests.support.host import HOST, OK, STATES, Step, create_steps
from tests.support.install import install_audit

TRANSITIONS = 300
AUDIT = "tasker_workflow_step_result_audit"
NOT_AUDITED = next(state for state in STATES if state != OK)

# No checkpoint, no vacuum and nothing written for a standby comes between two counts.
QUIET = {
    "autovacuum": "off",
    "bgwriter_lru_maxpages": "0",
    "checkpoint_timeout": "1d",
    "max_wal_size": "10GB",
    "timezone": "UTC",
}

WORKER = str(uuid.UUID(int=1))
CORRELATION = str(uuid.UUID(int=2))
EVENT = {
    "type": "EnqueueForOrchestration",
    "data": {"success": True, "metadata": {"execution_time_ms": 12}, "result": {"text": "x" * 900}},
}
METADATA = json.dumps(
    {"event": json.dumps(EVENT), "worker_uuid": WORKER, "correlation_id": CORRELATION}
)

TRANSITION = f"""
INSERT INTO {HOST.transitions} (
    workflow_step_uuid, from_state, to_state, metadata, sort_key, most_recent
)
VALUES (%(step)s, 'in_progress', %(state)s, %(metadata)s, %(sort_key)s, FALSE)
"""

BY_ITSELF = f"""
WITH written AS ({TRANSITION} RETURNING workflow_step_transition_uuid)
INSERT INTO reference_audit (
    workflow_step_uuid, workflow_step_transition_uuid, task_uuid,
    worker_uuid, correlation_id, success, execution_time_ms
)
SELECT
    %(step)s, workflow_step_transition_uuid, %(task)s,
    '{WORKER}', '{CORRELATION}', TRUE, 12
FROM written
"""


@dataclass
class Writer:
    """Writes transitions into one of the databases, each in a transaction of its own."""

    conn: Connection
    statement: str
    steps: list[Step]
    written: int = 0

    def write(self, state: str = OK, transitions: int = TRANSITIONS) -> int:
        for _ in range(transitions):
            step = self.steps[self.written % len(self.steps)]
            self.written += 1
            self.conn.execute(
                self.statement.encode(),
                {
                    "step": step.step_uuid,
                    "task": step.task_uuid,
                    "state": state,
                    "metadata": METADATA,
                    "sort_key": self.written,
                },
                prepare=True,
            )
        return transitions

    def cost(self, state: str = OK) -> Counts:
        # The first ones grow empty tables and fill the caches.
        self.write(state)
        return count(self.conn, lambda: self.write(state))


@dataclass(frozen=True)
class Size:
    """Of an audit table: indexes, bytes of the longest row, bytes with all indexes."""

    indexes: float
    row: float
    table: float


@dataclass(frozen=True)
class Budget:
    """Counts of a transition alone, and what the reference costs beyond it."""

    nothing: Counts
    counts: Counts
    size: Size


@pytest.fixture(scope="module")
def quiet_server(new_server: Any) -> EmbeddedServer:
    server: EmbeddedServer = new_server(**QUIET)
    return server


@pytest.fixture(scope="module")
def none(quiet_server: EmbeddedServer) -> Iterator[Writer]:
    """Nobody audits."""
    with new_writer(quiet_server, "none", TRANSITION) as writer:
        yield writer


@pytest.fixture(scope="module")
def budget(quiet_server: EmbeddedServer, none: Writer) -> Iterator[Budget]:
    """The application writes the reference's audit row."""
    with new_writer(quiet_server, "floor", BY_ITSELF, reference()) as writer:
        nothing = none.cost()
        counts = writer.cost().minus(nothing)
        # One for the audit row, and one for each of its indexes but the summary.
        assert counts.wal_records > 6, counts
        yield Budget(nothing, counts, size_of(writer.conn, "reference_audit"))


@pytest.fixture
def ours(quiet_server: EmbeddedServer) -> Iterator[Writer]:
    """step-audit does."""
    with new_writer(quiet_server, "ours", TRANSITION) as writer:
        yield writer


@contextmanager
def new_writer(
    server: EmbeddedServer, name: str, statement: str, script: str = ""
) -> Iterator[Writer]:
    with connect(server.dsn()) as root:
        root.execute(f"DROP DATABASE IF EXISTS {name}".encode())
        root.execute(f"CREATE DATABASE {name}".encode())
    with connect(server.dsn(name)) as conn:
        HOST.create(conn)
        if name == "ours":
            install_audit(conn)
        conn.execute(script.encode())
        yield Writer(conn, statement, create_steps(conn, 50))


def reference() -> str:
    """The reference's table, with the audit's own default for the key."""
    (keys,) = (file.text for file in load_sources().files if file.name == "0006_audit_keys")
    key = re.sub(r" *EXECUTE format\('ALTER TABLE step_audit_.*\n", "", keys).replace(
        f"{AUDIT} ALTER workflow_step_result_audit_uuid", "reference_audit ALTER audit_uuid"
    )
    table = (Path(__file__).parent / "reference.sql").read_text(encoding="utf-8")
    return f"{table}\n{key}"


def excesses(budget: Budget, ours: Writer) -> list[str]:
    """What costs more than the reference allows."""
    spent = ours.cost().minus(budget.nothing)
    size = size_of(ours.conn, AUDIT)
    limits = {
        # A row that may be there already is confirmed by a record of its own; one index more would
        # be another one.
        "WAL records": (spent.wal_records, budget.counts.wal_records + 1.5),
        "WAL bytes": (spent.wal_bytes, (budget.counts.wal_bytes + 50) * 1.05),
        # A trigger reads its row again, finds the task in the step by index and table, and looks by
        # index whether the row is there.
        "buffers": (spent.buffers, budget.counts.buffers + 6.5),
        # A subtransaction that writes takes an id of its own.
        "transaction ids": (spent.transaction_ids, budget.counts.transaction_ids + 0.1),
        "indexes": (size.indexes, budget.size.indexes),
        "bytes of a row": (size.row, budget.size.row),
        "bytes of the table": (size.table, budget.size.table * 1.05),
    }
    return [
        f"{name}: {value:.1f} > {limit:.1f}"
        for name, (value, limit) in limits.items()
        if value > limit
    ]


def size_of(conn: Connection, table: str) -> Size:
    return Size(
        number(conn, "SELECT count(*) AS n FROM pg_index WHERE indrelid = %s::regclass", table),
        number(conn, f"SELECT max(pg_column_size(a.*)) AS n FROM {table} AS a"),
        number(conn, "SELECT pg_total_relation_size(%s::regclass) AS n", table),
    )


def number(conn: Connection, query: str, *arguments: str) -> float:
    (row,) = conn.execute(query.encode(), arguments).fetchall()
    return float(row["n"])


def test_a_result_costs_no_more_than_a_row_that_the_application_writes(
    budget: Budget, ours: Writer
) -> None:
    assert excesses(budget, ours) == []
    # What was compared is audit rows.
    assert number(ours.conn, f"SELECT count(*) AS n FROM {AUDIT}") == 2 * TRANSITIONS


# A step that completes by itself is looked at whether an operator completed it.
@pytest.mark.parametrize("state", [NOT_AUDITED, "complete"])
def test_a_transition_that_is_not_audited_costs_a_second_look_at_its_row(
    none: Writer, ours: Writer, state: str
) -> None:
    spent = ours.cost(state).minus(none.cost(state))
    assert (spent.wal_records, spent.transaction_ids) == pytest.approx((0, 0), abs=0.1)
    assert spent.buffers <= 1.1


def test_an_index_more_is_seen(budget: Budget, ours: Writer) -> None:
    ours.conn.execute(f"CREATE INDEX ON {AUDIT} (created_at)".encode())
    found = kinds(excesses(budget, ours))
    assert {"WAL records", "WAL bytes", "indexes", "bytes of the table"} <= found


def test_a_column_more_is_seen(budget: Budget, ours: Writer) -> None:
    ours.conn.execute(
        f"ALTER TABLE {AUDIT} ADD note uuid NOT NULL DEFAULT gen_random_uuid()".encode()
    )
    assert "bytes of a row" in kinds(excesses(budget, ours))


def test_a_subtransaction_around_the_insert_is_seen(budget: Budget, ours: Writer) -> None:
    (source,) = (
        file.text
        for file in load_sources().functions
        if file.path == "functions/record/create_step_result_audit.sql"
    )
    guarded, inserts = re.subn(
        rf"(INSERT INTO {AUDIT} .*?;)",
        r"BEGIN \1 EXCEPTION WHEN unique_violation THEN NULL; END;",
        source,
        flags=re.DOTALL,
    )
    assert inserts == 2
    ours.conn.execute(f"SET search_path = {', '.join(HOST.schemas)}, pg_temp".encode())
    ours.conn.execute(guarded.encode())
    assert "transaction ids" in kinds(excesses(budget, ours))


def kinds(found: list[str]) -> set[str]:
    return {excess.partition(":")[0] for excess in found}
