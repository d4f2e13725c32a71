"""Who works beside the writers: a sealer, a checkpointer and a verifier."""

from __future__ import annotations

from dataclasses import dataclass, field

import psycopg

from step_audit.errors import NotProvedError, RefusedError
from tests.chaos import audit
from tests.chaos.cluster import Cluster, is_of_fault
from tests.chaos.journal import Journal
from tests.chaos.sealer import FAILED, Sealer

_STANDBY_SECONDS = 2.0


@dataclass(frozen=True)
class Kept:
    """A checkpoint, kept outside.

    ``after`` is a position of the WAL after what it signs, None where none could be read.
    ``is_durable``: it was signed when the standby had flushed all of that.
    """

    note: str
    generation: int
    is_durable: bool
    after: int | None


@dataclass(frozen=True)
class Verified:
    """What verify found against a checkpoint, or without one: finding to its kind."""

    against: Kept | None
    findings: dict[str, str]


@dataclass
class Watchers:
    """All three, and what they keep; ``refused`` are checkpoints that the log did not extend."""

    cluster: Cluster
    journal: Journal
    sealer: Sealer = field(default_factory=Sealer)
    kept: list[Kept] = field(default_factory=list)
    refused: list[Kept] = field(default_factory=list)
    verified: list[Verified] = field(default_factory=list)

    def seal(self, times: int) -> None:
        """Seal in the other process."""
        for _ in range(times):
            self.cluster.connect("waits for the primary").conn.close()
            answer = self.sealer.seal(self.cluster.primary.dsn())
            self.journal.say("sealed", answer=answer)
            assert not answer.startswith(FAILED), answer

    def checkpoint(self, times: int) -> None:
        """Sign what is sealed and extends the newest; every other time, when the standby has it."""
        for number in range(times):
            session = self.cluster.connect("checkpointer")
            newest = self.kept[-1] if self.kept and self.kept[-1] not in self.refused else None
            seconds = _STANDBY_SECONDS if number % 2 else None
            try:
                with session.conn as conn:
                    note, is_durable = audit.checkpoint(
                        conn, newest.note if newest else None, seconds
                    )
                    after = session.last_position()
                    self.kept.append(Kept(note, session.generation, is_durable, after))
            except NotProvedError as error:
                assert newest
                self.refused.append(newest)
                self.journal.say("checkpoint refused", error=error)
            except (psycopg.Error, RefusedError) as error:
                if not is_of_fault(error):
                    raise
                self.journal.say("no checkpoint", error=error)

    def verify(self, times: int) -> None:
        """Verify against the newest checkpoint that is kept."""
        for _ in range(times):
            session = self.cluster.connect("verifier")
            kept = self.kept[-1] if self.kept else None
            try:
                with session.conn as conn:
                    findings = audit.verify(conn, kept.note if kept else None)
                    findings |= _find_differences(conn)
            except psycopg.Error as error:
                if not is_of_fault(error):
                    raise
                self.journal.say("not verified", error=error)
            else:
                self.verified.append(Verified(kept, findings))
                self.journal.say("verified", findings=findings)


def _find_differences(conn: psycopg.Connection[dict[str, object]]) -> dict[str, str]:
    return {
        f"{key} has {results} results and {audits} audit rows": "difference"
        for key, (results, audits) in audit.count_results(conn).items()
        if (results, audits) != (1, 1)
    }
