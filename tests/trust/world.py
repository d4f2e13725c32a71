"""A sealed history in a database, and two signed checkpoints that are kept elsewhere."""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from step_audit.database import Connection, call
from step_audit.errors import StepAuditError
from step_audit.trust.note import SignerKey, generate_key
from step_audit.trust.signing import make_checkpoint
from step_audit.trust.verify import Finding, open_signed, verify
from tests.support.host import (
    FAILED,
    HOST,
    OK,
    Step,
    Transition,
    create_steps,
    insert_together,
    real_transitions,
)
from tests.support.install import create_extension, install_audit
from tests.support.roles import give_engine_to

SUBTREE = 256
OWNER = "tables_owner"
AUDITOR = "plain_auditor"
"""Who verifies: he may read all, and has no other rights to lose."""


class Found(NamedTuple):
    """A finding as the matrix compares it: without what is stored and expected."""

    finding: str
    audit: UUID | None = None
    transition: UUID | None = None
    field: str | None = None


@dataclass(frozen=True)
class Record:
    """An audit row; ``index`` is its leaf's, None where it is not sealed."""

    audit: UUID
    transition: UUID
    step: UUID
    task: UUID
    index: int | None
    xid: int
    backfilled: bool
    to_state: str
    read: tuple[str | None, ...]
    anomalous: bool


@dataclass
class History:
    """Writes results into a database, from any thread, never two of one sort key."""

    steps: list[Step]
    numbers: count[int] = field(default_factory=count)

    def record(self, conn: psycopg.Connection[Any], results: int) -> None:
        """Write so many results, each after its step went in progress."""
        insert_together(conn, [each for _ in range(results) for each in self._result()])

    def record_real(self, conn: psycopg.Connection[Any]) -> None:
        """Write what a real engine wrote."""
        transitions = []
        for real in real_transitions():
            number = next(self.numbers)
            transitions.append(
                Transition(
                    self.steps[number % len(self.steps)],
                    real["to_state"],
                    json.dumps(real["metadata"]),
                    number,
                    real["from_state"],
                )
            )
        insert_together(conn, transitions)

    def _result(self) -> list[Transition]:
        number = next(self.numbers)
        step = self.steps[number % len(self.steps)]
        state = FAILED if number % 3 == 2 else OK
        return [
            Transition(step, "in_progress", "{}", 2 * number + 1_000_000, "enqueued"),
            Transition(step, state, _metadata(number), 2 * number + 1_000_001, "in_progress"),
        ]


def _metadata(number: int) -> str | None:
    odd = {3: None, 7: '{"event": "not JSON", "worker_uuid": 7}', 11: "[]", 13: '{"event": {}}'}
    if number % 17 in odd:
        return odd[number % 17]
    data = {
        "success": number % 3 != 2,
        "result": f'na\u00efve "{number}" \\ \t \u2028',
        "metadata": {"execution_time_ms": "12ms" if number % 19 == 4 else number},
    }
    event = {"type": "EnqueueForOrchestration", "data": data}
    return json.dumps(
        {
            "event": json.dumps(event) if number % 2 else event,
            "worker_uuid": str(uuid.uuid4()),
            "correlation_id": str(uuid.uuid4()),
            "payload": number,
        }
    )


@dataclass
class World:
    """What an attack meets: the database, and what is kept outside of it."""

    conn: Connection
    history: History
    key: SignerKey = field(default_factory=lambda: generate_key("example.com/audit"))
    older: str = ""
    newer: str = ""

    @property
    def public_key(self) -> str:
        return self.key.verifier.to_text()

    def sign(self) -> str:
        """A checkpoint of the log as it is."""
        return make_checkpoint(self.conn, HOST.audit_schema, self.key.to_text()).note

    def verify(self, note: str | None = None, verified: str | None = None) -> list[Found]:
        """What ``step-audit verify`` finds, or why it refuses."""
        try:
            signed = open_signed(note or self.newer, verified, self.public_key)
            with as_auditor(self.conn):
                report = verify(self.conn, HOST.audit_schema, signed=signed)
        except StepAuditError as error:
            return [Found("refused", field=type(error).__name__)]
        assert [str(each) for each in report.findings if not reads_well(str(each))] == []
        return [_found(each) for each in report.findings]

    def finish(self) -> World:
        """Sign the newer checkpoint, and record a little that is not sealed."""
        assert_all_sealed(self.conn)
        self.newer = self.sign()
        self.history.record(self.conn, 5)
        assert self.size > 2 * SUBTREE
        assert self.older_size > 0
        return self

    @cached_property
    def records(self) -> list[Record]:
        """All audit rows: the sealed ones in the order of the log, then the others."""
        with self.conn.cursor(row_factory=class_row(Record)) as cursor:
            return cursor.execute(_RECORDS).fetchall()

    @cached_property
    def sealed(self) -> list[Record]:
        return [record for record in self.records if record.index is not None]

    @cached_property
    def unsealed(self) -> list[Record]:
        return [record for record in self.records if record.index is None]

    @cached_property
    def plain(self) -> list[Record]:
        """Sealed below the older checkpoint, written by the trigger, all of it readable."""
        return [
            record
            for record in self.sealed[: min(self.older_size, SUBTREE)]
            if not (record.backfilled or record.anomalous) and all(record.read)
        ]

    @property
    def size(self) -> int:
        """Leaves in the newer checkpoint."""
        return open_signed(self.newer, None, self.public_key).checkpoint.tree_size

    @property
    def older_size(self) -> int:
        """Leaves in the older checkpoint."""
        return open_signed(self.older, None, self.public_key).checkpoint.tree_size


def start_world(conn: Connection, installed: str = "by command", mine: bool = False) -> World:
    """A host with a past, of a role of its own or ``mine``; then the audit comes, for all of it."""
    HOST.create(conn)
    if not mine:
        create_owner(conn)
        give_engine_to(conn, OWNER)
    history = History(create_steps(conn, 12))
    history.record(conn, 30)
    if installed == "as extension":
        create_extension(conn)
        conn.execute(f"GRANT USAGE, CREATE ON SCHEMA {HOST.schemas[0]} TO {OWNER}".encode())
        call(conn, HOST.audit_schema, "attach_step_result_audit")
    else:
        install_audit(conn)
    conn.execute("CALL backfill_step_result_audit(20)")
    history.record_real(conn)
    return World(conn, history)


def create_owner(conn: Connection) -> None:
    """The role whose tables the engine's are: it may log in, and is no superuser."""
    if not conn.execute("SELECT FROM pg_roles WHERE rolname = %s", (OWNER,)).fetchall():
        conn.execute(f"CREATE ROLE {OWNER} LOGIN".encode())
        conn.execute(f"CREATE ROLE {AUDITOR} LOGIN BYPASSRLS".encode())
        conn.execute(f"GRANT pg_read_all_data TO {AUDITOR}".encode())
    # A dump does not carry the rights on the database.
    conn.execute(f"GRANT CREATE ON DATABASE {conn.info.dbname} TO {OWNER}".encode())


@contextmanager
def as_auditor(conn: Connection) -> Iterator[None]:
    """A session of the role that is set, or of the auditor where it is a superuser's: that one is
    refused where another owns what is read."""
    (who,) = conn.execute(_WHO, (AUDITOR,)).fetchall()
    reader = who["role_name"] if not who["is_superuser"] else who["auditor"]
    if not who["may_change"] or reader is None:
        yield
        return
    conn.execute(sql.SQL("SET SESSION AUTHORIZATION {}").format(sql.Identifier(reader)))
    try:
        yield
    finally:
        conn.execute("RESET SESSION AUTHORIZATION")
        conn.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(who["role_setting"])))


def grow_to_older(world: World) -> None:
    """Results, sealed in several seals, up to the older checkpoint."""
    for limit in (1_000_000, 100):
        world.history.record(world.conn, 140)
        seal(world.conn, limit)
    world.older = world.sign()


def grow_to_newer(world: World) -> None:
    """More results and seals, up to the newer checkpoint."""
    for _ in range(2):
        world.history.record(world.conn, 160)
        seal(world.conn)


def seal(conn: Connection, limit: int = 1_000_000) -> int:
    """Seal until all is sealed; gives how many records."""
    sealed, complete = 0, False
    while not complete:
        (done,) = call(conn, HOST.audit_schema, "seal_step_result_audit", p_limit=limit)
        sealed, complete = sealed + done["sealed"], done["complete"]
    return sealed


def assert_all_sealed(conn: Connection) -> None:
    """Each record has one leaf, each leaf its record, and none is left out between."""
    records = [row["key"] for row in conn.execute(_SEALABLE).fetchall()]
    leaves = [row["key"] for row in conn.execute(_LEAVES).fetchall()]
    assert Counter(records) == Counter(leaves)
    indexes = conn.execute("SELECT leaf_index AS n FROM step_audit_leaves ORDER BY 1").fetchall()
    assert [row["n"] for row in indexes] == list(range(len(leaves)))


class Meeting(threading.Barrier):
    """A barrier that does not wait for ever for somebody who failed."""

    def __init__(self, parties: int) -> None:
        super().__init__(parties, timeout=60)


def reads_well(finding: str) -> bool:
    """Whether a finding's line is a sentence, as far as a pattern can tell."""
    return not _ILL_SAID.search(finding)


_ILL_SAID = re.compile(
    r"should be (nothing|None|is|may|must)\b"
    r"|\bis (belongs|calls|does|fires|has|is|lacks|may|nothing|None|shows)\b"
)


def _found(finding: Finding) -> Found:
    return Found(
        finding.finding,
        finding.workflow_step_result_audit_uuid,
        finding.workflow_step_transition_uuid,
        finding.field,
    )


_WHO = """
SELECT
    c.rolname::pg_catalog.text AS role_name,
    pg_catalog.current_setting('role') AS role_setting,
    c.rolsuper AS is_superuser,
    s.rolsuper AS may_change,
    a.rolname::pg_catalog.text AS auditor
FROM pg_catalog.pg_roles AS c
JOIN pg_catalog.pg_roles AS s ON s.rolname = SESSION_USER
LEFT JOIN pg_catalog.pg_roles AS a ON a.rolname = %s
WHERE c.rolname = CURRENT_USER
"""
_AUDIT = "tasker_workflow_step_result_audit"
_SEALABLE = (
    f"SELECT workflow_step_result_audit_uuid AS key FROM {_AUDIT} "
    "UNION ALL SELECT step_audit_change_uuid FROM step_audit_changes "
    "UNION ALL SELECT step_audit_event_uuid FROM step_audit_events"
).encode()
_LEAVES = "SELECT record_uuid AS key FROM step_audit_leaves"
_RECORDS = """
SELECT
    a.workflow_step_result_audit_uuid AS audit,
    a.workflow_step_transition_uuid AS transition,
    a.workflow_step_uuid AS step,
    a.task_uuid AS task,
    l.leaf_index AS index,
    a.recorded_xid AS xid,
    a.backfilled,
    t.to_state,
    ARRAY[
        a.worker_uuid::text, a.correlation_id::text, a.success::text, a.execution_time_ms::text
    ] AS read,
    EXISTS (
        SELECT FROM tasker_workflow_step_result_audit_anomalies AS n
        WHERE n.workflow_step_result_audit_uuid = a.workflow_step_result_audit_uuid
    ) AS anomalous
FROM tasker_workflow_step_result_audit AS a
JOIN tasker_workflow_step_transitions AS t USING (workflow_step_transition_uuid)
LEFT JOIN step_audit_leaves AS l ON a.workflow_step_result_audit_uuid = l.record_uuid
ORDER BY l.leaf_index, a.workflow_step_result_audit_uuid
"""
