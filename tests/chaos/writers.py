"""Writers of all kinds, as engines and workers are: each tells the journal what it was told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from step_audit.database import Connection
from tests.chaos.cluster import Cluster, Session
from tests.chaos.journal import ACKNOWLEDGED, FAILED, IN_DOUBT, UNKNOWN, Entry, Journal
from tests.chaos.plan import Operation
from tests.support.host import HOST, Transition, insert_copy, insert_together


@dataclass
class Writer:
    """One worker with its connection, which it opens again when it is lost."""

    number: int
    cluster: Cluster
    journal: Journal
    session: Session | None = None

    def run(self, operations: tuple[Operation, ...]) -> None:
        """Do one after the other, whatever becomes of each."""
        for operation in operations:
            self.perform(operation)

    def perform(self, operation: Operation, forget: bool = False) -> None:
        """Do one, and note what the server said."""
        session = self._connect()
        entry = self.journal.begin(operation, session.generation)
        try:
            entry.before = session.position()
            if forget:
                prepare(Attempt(session.conn, entry))
                entry.outcome = IN_DOUBT
            else:
                perform(Attempt(session.conn, entry))
        except psycopg.Error as error:
            entry.error = " ".join(str(error).split())
            # A session that ends says nothing of what it was doing.
            if session.is_lost or error.diag.severity_nonlocalized in {"FATAL", "PANIC"}:
                self.close()
            else:
                # The server has said that it did not do it; what is prepared stays so.
                entry.outcome = IN_DOUBT if entry.prepared else FAILED
                self._roll_back(session)
        else:
            entry.after = session.last_position()
        self.journal.end(entry)

    def close(self) -> None:
        """Leave, or give up a session that is lost."""
        if self.session is not None:
            self.session.conn.close()
            self.session = None

    def _connect(self) -> Session:
        if self.session is None or self.session.is_lost:
            self.session = self.cluster.connect(f"writer {self.number}")
        return self.session

    def _roll_back(self, session: Session) -> None:
        try:
            session.conn.rollback()
        except psycopg.Error:
            self.close()


@dataclass
class Attempt:
    """An operation in a session, and what the journal has of it."""

    conn: Connection
    entry: Entry

    @property
    def operation(self) -> Operation:
        return self.entry.operation

    @property
    def gid(self) -> str:
        return global_id(self.operation)

    def execute(self, statement: str) -> None:
        """Execute what commits nothing."""
        self.conn.execute(statement.encode())

    def insert(self, transitions: tuple[Transition, ...]) -> None:
        """Insert one after the other."""
        for each in transitions:
            insert_together(self.conn, [each])

    def decide(self, work: Callable[[], object]) -> None:
        """Do what commits: until the server answers nobody knows."""
        self.entry.outcome = UNKNOWN
        work()
        self.entry.outcome = ACKNOWLEDGED


def global_id(operation: Operation) -> str:
    """The name of a two-phase operation's prepared transaction."""
    return f"chaos {operation.number}"


def perform(attempt: Attempt) -> None:
    """Do an operation as its kind has it."""
    _KINDS[attempt.operation.kind](attempt)


def prepare(attempt: Attempt) -> None:
    """The first of the two phases."""
    attempt.execute("BEGIN")
    attempt.insert(attempt.operation.kept)
    attempt.entry.outcome = IN_DOUBT
    attempt.execute(f"PREPARE TRANSACTION '{attempt.gid}'")
    attempt.entry.prepared = True


def _autocommit(attempt: Attempt) -> None:
    # Its first transition goes into another transaction that nobody asks about.
    *before, result = attempt.operation.kept[:2]
    attempt.insert(tuple(before))
    attempt.decide(lambda: attempt.insert((result,)))


def _together(attempt: Attempt) -> None:
    attempt.decide(lambda: insert_together(attempt.conn, list(attempt.operation.kept)))


def _copy(attempt: Attempt) -> None:
    attempt.decide(lambda: insert_copy(attempt.conn, list(attempt.operation.kept)))


def _savepoints(attempt: Attempt) -> None:
    kept = attempt.operation.kept
    attempt.execute("BEGIN")
    attempt.insert(kept[:2])
    attempt.execute("SAVEPOINT here")
    attempt.insert(attempt.operation.undone)
    attempt.execute("ROLLBACK TO here")
    attempt.insert(kept[2:])
    attempt.decide(lambda: attempt.execute("COMMIT"))


def _error_in_a_savepoint(attempt: Attempt) -> None:
    undone = attempt.operation.undone
    attempt.execute("BEGIN")
    attempt.insert(attempt.operation.kept)
    attempt.execute("SAVEPOINT here")
    try:
        insert_together(attempt.conn, [*undone, undone[-1]])
    except psycopg.errors.UniqueViolation:
        attempt.execute("ROLLBACK TO here")
    attempt.decide(lambda: attempt.execute("COMMIT"))


def _rolled_back(attempt: Attempt) -> None:
    attempt.execute("BEGIN")
    attempt.insert(attempt.operation.kept)
    attempt.execute("ROLLBACK")


def _refused(attempt: Attempt) -> None:
    kept = attempt.operation.kept
    attempt.decide(lambda: insert_together(attempt.conn, [*kept, kept[-1]]))


def _two_phase(attempt: Attempt) -> None:
    prepare(attempt)
    attempt.decide(lambda: attempt.execute(f"COMMIT PREPARED '{attempt.gid}'"))


def _two_phase_rolled_back(attempt: Attempt) -> None:
    prepare(attempt)
    attempt.execute(f"ROLLBACK PREPARED '{attempt.gid}'")
    attempt.entry.outcome = FAILED


def _in_isolation(attempt: Attempt) -> None:
    step = attempt.operation.kept[0].step.step_uuid
    attempt.execute(f"BEGIN ISOLATION LEVEL {attempt.operation.kind}")
    attempt.conn.execute(_COUNT, (step,))
    attempt.insert(attempt.operation.kept)
    attempt.decide(lambda: attempt.execute("COMMIT"))


_COUNT = f"SELECT count(*) FROM {HOST.transitions} WHERE workflow_step_uuid = %s".encode()

_KINDS = {
    "autocommit": _autocommit,
    "together": _together,
    "copy": _copy,
    "savepoints": _savepoints,
    "error in a savepoint": _error_in_a_savepoint,
    "rolled back": _rolled_back,
    "refused": _refused,
    "two-phase": _two_phase,
    "two-phase rolled back": _two_phase_rolled_back,
    "read committed": _in_isolation,
    "repeatable read": _in_isolation,
    "serializable": _in_isolation,
}
