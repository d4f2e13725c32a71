"""Watch a database: seal, verify what is new, sign a checkpoint; tell what is out of order.

What it knows of earlier times is in the folder of checkpoints alone. Each round has a connection of
its own, so that none is lost by a server that restarts, or kept from others behind a pooler.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from step_audit.database import Connection, call, connect, conninfo, find_schema, transaction
from step_audit.errors import CannotConnectError, StepAuditError, describe
from step_audit.trust import archive
from step_audit.trust.alarms import (
    NO_CHECKPOINT,
    NO_CONNECTION,
    NOT_SEALED,
    NOT_VERIFIED,
    NOT_WATCHED,
    OUT_OF_ORDER,
    SEALED_LATE,
    Alarm,
    Event,
    Standing,
)
from step_audit.trust.checkpoint import Checkpoint
from step_audit.trust.lateness import find_late
from step_audit.trust.note import SignerKey
from step_audit.trust.server import Durability
from step_audit.trust.signing import read_head, sign_head
from step_audit.trust.verify import KINDS, Finding, Signed, verify

# Findings about records below where a verification began: only a whole one tells that they ended.
_OF_RECORDS = frozenset(
    {
        "mismatch",
        "altered record",
        "deleted record",
        "inserted record",
        "missing leaf",
        "missing salt",
        "unsealed leaf",
        "altered log",
    }
)
_OF_THE_LOG = frozenset({"truncated log", "rewritten log", "lost by failover"})

# Unless the connection string says otherwise, a network that swallows all is noticed too.
_CONNECTION = {
    "connect_timeout": "10",
    "tcp_user_timeout": "30000",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
}

_SHUTDOWN = (
    psycopg.errors.AdminShutdown,
    psycopg.errors.CrashShutdown,
    psycopg.errors.CannotConnectNow,
)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0


@dataclass(frozen=True)
class Plan:
    """What to watch, and how often.

    Attributes:
        dsn: as :func:`step_audit.database.connect` takes it.
        schema: where step-audit is installed; found if not given.
        folder: of checkpoints; None signs none.
        signer_key: the log's private key, where there is a folder.
        seal_every: seconds.
        verify_every: seconds between verifications of what is new.
        verify_all_every: seconds between those of all.
        late: how much older than its seal a record may be.
        patience: seconds that a lock, a standby or the connection is waited for.
    """

    dsn: str | None
    schema: str | None
    folder: Path | None
    signer_key: str | None
    seal_every: float = 30.0
    verify_every: float = 300.0
    verify_all_every: float = 86400.0
    late: timedelta = timedelta(hours=1)
    patience: float = 60.0

    @property
    def origin(self) -> str:
        """The name of the log."""
        return SignerKey.from_text(self.signer_key).name if self.signer_key else ""

    def newest(self) -> archive.KeptCheckpoint | None:
        """The newest checkpoint of the folder.

        Raises:
            TrustError: it, or the key, cannot be read, or is not signed by this key.
        """
        if not (self.folder and self.signer_key):
            return None
        verifier = SignerKey.from_text(self.signer_key).verifier.to_text()
        return archive.find_newest(self.folder, verifier)


@dataclass
class Watch:
    """A watch; ``tell`` is given each event, ``note`` what else happens, a line each."""

    plan: Plan
    tell: Callable[[Event], None]
    note: Callable[[str], None]
    standing: Standing = field(default_factory=Standing)
    _sealed_before: int | None = None
    _lost_since: float | None = None

    def run(self) -> None:
        """Go on until something is raised from outside."""
        next_verify = next_whole = time.monotonic()
        pause = _FIRST_PAUSE
        while True:
            start = time.monotonic()
            is_due, is_whole = start >= next_verify, start >= next_whole
            try:
                self.look(verifies=is_due, whole=is_whole)
            except CannotConnectError as error:
                self._lose(error)
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE, max(self.plan.seal_every, _FIRST_PAUSE))
                continue
            pause = _FIRST_PAUSE
            if is_due:
                next_verify = start + self.plan.verify_every
            if is_whole:
                next_whole = start + self.plan.verify_all_every
            time.sleep(max(0.0, start + self.plan.seal_every - time.monotonic()))

    def look(self, *, verifies: bool, whole: bool) -> None:
        """One round.

        Raises:
            CannotConnectError: the server cannot be reached, or the connection was lost.
        """
        with connect(_patient(self.plan.dsn)) as conn:
            self._find_again()
            try:
                self._look(conn, verifies, whole)
            except psycopg.Error as error:
                if _is_lost(conn, error):
                    raise CannotConnectError(
                        f"the connection was lost: {describe(error)}"
                    ) from error
                raise

    def _look(self, conn: Connection, verifies: bool, whole: bool) -> None:
        try:
            schema = self.plan.schema or find_schema(conn)
        except StepAuditError as error:
            self._update({NOT_WATCHED: Alarm(NOT_WATCHED, describe(error))}, ())
            return
        self._look_at_health(conn, schema)
        self._seal(conn, schema)
        if verifies:
            self._verify(conn, schema, whole)

    def _lose(self, error: CannotConnectError) -> None:
        now = time.monotonic()
        what = str(error)
        if self._lost_since is None:
            self._lost_since = now
            self.note(f"not connected, tries again: {what}")
        if now - self._lost_since >= self.plan.patience:
            # The server's words change while it starts; the alarm is one.
            stands = self.standing.alarms.get(NO_CONNECTION)
            self._update({NO_CONNECTION: stands or Alarm(NO_CONNECTION, what)}, ())

    def _find_again(self) -> None:
        if self._lost_since is not None:
            self._lost_since = None
            self.note("connected again")
        self._update({}, [NO_CONNECTION])

    def _look_at_health(self, conn: Connection, schema: str) -> None:
        try:
            with transaction(conn):
                self._limit_locks(conn)
                (health,) = call(conn, schema, "get_step_audit_health")
            if self._sealed_before is None:
                self._sealed_before = read_head(conn, schema, "").tree_size
        except (StepAuditError, psycopg.Error) as error:
            if _is_lost(conn, error):
                raise
            self._update({NOT_WATCHED: Alarm(NOT_WATCHED, describe(error))}, ())
            return
        found = {}
        if not health["attached"] or health["trigger_state"] != "enabled":
            problems = "; ".join(health["problems"] or ())
            what = f"the trigger is {health['trigger_state']}" + (problems and f"; {problems}")
            found = {OUT_OF_ORDER: Alarm(OUT_OF_ORDER, what)}
        self._update(found, [NOT_WATCHED, OUT_OF_ORDER])

    def _seal(self, conn: Connection, schema: str) -> None:
        found = {}
        try:
            complete = False
            while not complete:
                with transaction(conn, writes=True):
                    self._limit_locks(conn)
                    (done,) = call(conn, schema, "seal_step_result_audit")
                complete = done["complete"]
        except (StepAuditError, psycopg.Error) as error:
            if _is_lost(conn, error):
                raise
            found = {NOT_SEALED: Alarm(NOT_SEALED, describe(error))}
        self._update(found, [NOT_SEALED])

    def _verify(self, conn: Connection, schema: str, whole: bool) -> None:
        try:
            newest = self.plan.newest()
            head = read_head(conn, schema, self.plan.origin)
            older = newest.checkpoint if newest else None
            findings: list[Finding] = []
            if older and whole:
                findings += verify(conn, schema, signed=Signed(older)).findings
            # Only a head whose root was computed anew here is signed.
            findings += verify(conn, schema, signed=Signed(head, older)).findings
            found = Alarm.of_findings(dict.fromkeys(findings))
            looked_for = set(KINDS) if whole or not older else set(KINDS) - _OF_RECORDS
            for kind in found.keys() - looked_for:
                # What a whole verification found lower down still stands.
                found[kind] = _join(self.standing.alarms.get(kind), found[kind])
            self._update(found, {*looked_for, NOT_VERIFIED})
            self._look_for_late(conn, schema, older, head)
        # What goes wrong in a verification is told as an alarm, and does not end the watch.
        except Exception as error:
            if _is_lost(conn, error):
                raise
            self._update({NOT_VERIFIED: Alarm(NOT_VERIFIED, describe(error))}, ())
            return
        if not found.keys() & _OF_THE_LOG:
            self._sign(conn, schema, newest, head)

    def _look_for_late(
        self, conn: Connection, schema: str, older: Checkpoint | None, head: Checkpoint
    ) -> None:
        first = older.tree_size if older else self._sealed_before or 0
        late = find_late(conn, schema, first, head.tree_size, self.plan.late)
        self._sealed_before = head.tree_size
        found = {}
        if late:
            what = (
                f"{late.records} records were sealed more than {self.plan.late} after they were "
                f"recorded, the oldest of {late.oldest:%Y-%m-%d %H:%M:%S} UTC after {late.longest}"
            )
            found = {SEALED_LATE: Alarm(SEALED_LATE, what)}
        self._update(found, [SEALED_LATE])

    def _sign(
        self,
        conn: Connection,
        schema: str,
        newest: archive.KeptCheckpoint | None,
        head: Checkpoint,
    ) -> None:
        folder, key = self.plan.folder, self.plan.signer_key
        if not (folder and key) or not head.tree_size or (newest and newest.checkpoint == head):
            self._update({}, [NO_CHECKPOINT])
            return
        found = {}
        try:
            signed = sign_head(conn, schema, key, head, newest, self.plan.patience)
            out = folder / archive.name_checkpoint(signed.checkpoint)
            archive.write_new(out, signed.note)
            if signed.proof:
                archive.write_new(archive.proof_path(out), signed.proof.to_text())
            durable = signed.durability
            unknown = durable not in (None, Durability.NO_STANDBY, Durability.FLUSHED)
            self.note(f"checkpoint {out}" + (f"; durable: {durable}" if unknown else ""))
        except (StepAuditError, OSError, psycopg.Error) as error:
            if _is_lost(conn, error):
                raise
            found = {NO_CHECKPOINT: Alarm(NO_CHECKPOINT, describe(error))}
        self._update(found, [NO_CHECKPOINT])

    def _limit_locks(self, conn: Connection) -> None:
        limit = sql.Literal(f"{self.plan.patience:g}s")
        conn.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(limit))

    def _update(self, found: dict[str, Alarm], looked_for: Iterable[str]) -> None:
        for event in self.standing.update(found, looked_for):
            self.tell(event)


def now() -> str:
    """The time as the watch prints it."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _join(before: Alarm | None, found: Alarm) -> Alarm:
    if before is None:
        return found
    return Alarm.of_findings([*before.findings, *(found.findings - before.findings)])[found.kind]


def _is_lost(conn: Connection, error: Exception) -> bool:
    """Whether the connection is gone, so that nothing is known but that."""
    return isinstance(error, psycopg.Error) and (conn.closed or isinstance(error, _SHUTDOWN))


def _patient(dsn: str | None) -> str:
    try:
        return make_conninfo("", **{**_CONNECTION, **conninfo_to_dict(conninfo(dsn))})
    except psycopg.ProgrammingError:
        # connect() tells what is wrong with it.
        return dsn or ""
