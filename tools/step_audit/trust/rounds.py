"""What a watch does each time: look at the health, seal, verify, sign a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from step_audit.database import Connection, call, find_schema, transaction
from step_audit.errors import StepAuditError, describe
from step_audit.trust import archive
from step_audit.trust.alarms import (
    NO_CHECKPOINT,
    NOT_SEALED,
    NOT_VERIFIED,
    NOT_WATCHED,
    OUT_OF_ORDER,
    SEALED_LATE,
    Alarm,
    Standing,
)
from step_audit.trust.checkpoint import Checkpoint
from step_audit.trust.lateness import find_late
from step_audit.trust.plan import Plan
from step_audit.trust.server import Durability
from step_audit.trust.signing import read_head, sign_head
from step_audit.trust.verify import KINDS, Finding, Signed, verify

# Findings that are looked for in all there is in each round. Of the others, only a verification of
# all tells that they ended: what lies below the newest checkpoint is not read by the rest.
_OF_ALL = frozenset(
    {
        "missing",
        "extra",
        "waits too long",
        "truncated log",
        "rewritten log",
        "lost by failover",
        "missing object",
        "altered object",
        "foreign object",
        "changed while verified",
    }
)

_SHUTDOWN = (
    psycopg.errors.AdminShutdown,
    psycopg.errors.CrashShutdown,
    psycopg.errors.CannotConnectNow,
)


@dataclass
class Times:
    """When each was done last, in seconds since the epoch; None for not yet, or not by this watch.

    ``signed`` is also when the newest checkpoint was found to be still the head of the log.
    """

    sealed: float | None = None
    verified: float | None = None
    verified_all: float | None = None
    signed: float | None = None


@dataclass
class Rounds:
    """The rounds of one watch; ``note`` is given what happens besides alarms, a line each."""

    plan: Plan
    standing: Standing
    note: Callable[[str], None]
    times: Times = field(default_factory=Times)
    _is_first: bool = False
    _sealed_before: int | None = None

    def __post_init__(self) -> None:
        """Only until a checkpoint was seen."""
        self._is_first = self.plan.is_first

    def go(self, conn: Connection, verifies: bool, whole: bool) -> None:
        """One round; what goes wrong is an alarm.

        Raises:
            psycopg.Error: the connection was lost: see :func:`is_lost`.
        """
        try:
            schema = self.plan.schema or find_schema(conn)
        except StepAuditError as error:
            self.standing.raise_one(NOT_WATCHED, describe(error))
            return
        self._look_at_health(conn, schema)
        self._seal(conn, schema)
        if verifies:
            self._verify(conn, schema, whole)

    def _look_at_health(self, conn: Connection, schema: str) -> None:
        try:
            with transaction(conn):
                self._limit_locks(conn)
                (health,) = call(conn, schema, "get_step_audit_health")
            if self._sealed_before is None:
                self._sealed_before = read_head(conn, schema, "").tree_size
        except (StepAuditError, psycopg.Error) as error:
            if is_lost(conn, error):
                raise
            self.standing.raise_one(NOT_WATCHED, describe(error))
            return
        found = {}
        if not health["attached"] or health["trigger_state"] != "enabled":
            problems = "; ".join(health["problems"] or ())
            what = f"the trigger is {health['trigger_state']}" + (problems and f"; {problems}")
            found = {OUT_OF_ORDER: Alarm(OUT_OF_ORDER, what)}
        self.standing.update(found, [NOT_WATCHED, OUT_OF_ORDER])

    def _seal(self, conn: Connection, schema: str) -> None:
        try:
            complete = False
            while not complete:
                with transaction(conn, writes=True):
                    self._limit_locks(conn)
                    (done,) = call(conn, schema, "seal_step_result_audit")
                complete = done["complete"]
        except (StepAuditError, psycopg.Error) as error:
            if is_lost(conn, error):
                raise
            self.standing.raise_one(NOT_SEALED, describe(error))
        else:
            self.times.sealed = time.time()
            self.standing.clear(NOT_SEALED)

    def _verify(self, conn: Connection, schema: str, whole: bool) -> None:
        previous, unread = self._find_previous()
        older = previous.checkpoint if previous else None
        try:
            head = read_head(conn, schema, self.plan.origin)
            findings: list[Finding] = []
            if older and whole:
                findings += verify(conn, schema, signed=Signed(older)).findings
            # Only a head whose root was computed anew here is signed.
            findings += verify(conn, schema, signed=Signed(head, older)).findings
            found = Alarm.of_findings(dict.fromkeys(findings))
            looked_for = frozenset(KINDS) if whole or not older else _OF_ALL
            for kind in found.keys() - looked_for:
                # What a whole verification found lower down still stands.
                found[kind] = _join(self.standing.alarms.get(kind), found[kind])
            self.standing.update(found, {*looked_for, NOT_VERIFIED})
            self._look_for_late(conn, schema, older, head)
            self.times.verified = time.time()
            if whole or not older:
                self.times.verified_all = self.times.verified
        # What goes wrong in a verification is told as an alarm, and does not end the watch.
        except Exception as error:
            if is_lost(conn, error):
                raise
            self.standing.raise_one(NOT_VERIFIED, describe(error))
            return
        if unread:
            self.standing.raise_one(NO_CHECKPOINT, unread)
        else:
            self._sign(conn, schema, previous, head)

    def _find_previous(self) -> tuple[archive.KeptCheckpoint | None, str | None]:
        """The newest checkpoint, or why it cannot be had."""
        try:
            previous = self.plan.find_previous(self._is_first)
        except (StepAuditError, OSError) as error:
            return None, describe(error)
        self._is_first = self._is_first and not previous
        return previous, None

    def _look_for_late(
        self, conn: Connection, schema: str, older: Checkpoint | None, head: Checkpoint
    ) -> None:
        first = older.tree_size if older else self._sealed_before or 0
        late = find_late(conn, schema, first, head.tree_size, self.plan.late)
        self._sealed_before = head.tree_size
        if not late:
            self.standing.clear(SEALED_LATE)
            return
        self.standing.raise_one(
            SEALED_LATE,
            f"{late.records} records were sealed more than {self.plan.late} after they were "
            f"recorded, the oldest of {late.oldest:%Y-%m-%d %H:%M:%S} UTC after {late.longest}",
        )

    def _sign(
        self,
        conn: Connection,
        schema: str,
        previous: archive.KeptCheckpoint | None,
        head: Checkpoint,
    ) -> None:
        folder, key = self.plan.folder, self.plan.signer_key
        if not (folder and key) or not head.tree_size or (previous and previous.checkpoint == head):
            if previous:
                self.times.signed = time.time()
            self.standing.clear(NO_CHECKPOINT)
            return
        if self.standing.findings:
            stand = ", ".join(self.standing.findings)
            self.standing.raise_one(
                NO_CHECKPOINT, f"nothing is signed while a finding stands: {stand}"
            )
            return
        try:
            signed = sign_head(conn, schema, key, head, previous, self.plan.patience)
            out = folder / archive.name_checkpoint(signed.checkpoint)
            proof = signed.proof.to_text() if signed.proof else None
            archive.write_with_proof(out, signed.note, proof)
        except (StepAuditError, OSError, psycopg.Error) as error:
            if is_lost(conn, error):
                raise
            self.standing.raise_one(NO_CHECKPOINT, describe(error))
            return
        self._is_first = False
        self.times.signed = time.time()
        durable = signed.durability
        unknown = durable not in (None, Durability.NO_STANDBY, Durability.FLUSHED)
        self.note(f"checkpoint {out}" + (f"; durable: {durable}" if unknown else ""))
        self.standing.clear(NO_CHECKPOINT)

    def _limit_locks(self, conn: Connection) -> None:
        limit = sql.Literal(f"{self.plan.patience:g}s")
        conn.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(limit))


def is_lost(conn: Connection, error: Exception) -> bool:
    """Whether the connection is gone, so that nothing is known but that."""
    return isinstance(error, psycopg.Error) and (conn.closed or isinstance(error, _SHUTDOWN))


def _join(before: Alarm | None, found: Alarm) -> Alarm:
    if before is None:
        return found
    return Alarm.of_findings([*before.findings, *(found.findings - before.findings)])[found.kind]
