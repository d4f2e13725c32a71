"""What happens to the servers and to those who use them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass

import psycopg

from step_audit.database import Connection
from tests.chaos import audit, sealer
from tests.chaos.cluster import Cluster
from tests.chaos.journal import Journal
from tests.chaos.plan import FULL_OF_DATA, Round
from tests.chaos.watchers import Watchers
from tests.chaos.writers import Writer
from tests.support import replication
from tests.support.host import HOST

_MEGABYTE = 1 << 20
_PAGE = 1 << 13


@dataclass
class Nemesis:
    """Whom it may meet."""

    cluster: Cluster
    journal: Journal
    watchers: Watchers
    writers: list[Writer]
    synchronous: bool

    def prepare(self, now: Round) -> None:
        """What a round's fault needs before anybody writes."""
        if now.fault == FULL_OF_DATA:
            with self.cluster.connect("nemesis").conn as conn:
                _make_room(conn)

    def strike(self, now: Round, begun: int) -> None:
        """Let a round's fault happen, and mend it; ``begun`` operations had finished before."""
        self.journal.wait_for(begun + now.after)
        self.journal.say("fault", fault=now.fault)
        with self._fault(now):
            self.journal.wait_for(begun + now.after + now.lasts)
        self.journal.say("mended", fault=now.fault)

    def _fault(self, now: Round) -> AbstractContextManager[None]:
        faults: dict[str, Callable[[Round], AbstractContextManager[None]]] = {
            "postmaster killed": self._postmaster_killed,
            "backend killed": self._backend_killed,
            "sealer killed": self._sealer_killed,
            "sealer's backend killed": self._sealers_backend_killed,
            "killed while commits wait": self._killed_while_commits_wait,
            "immediate stop": self._immediate_stop,
            "backend frozen": self._backend_frozen,
            "walreceiver frozen": self._walreceiver_frozen,
            "standby promoted behind": self._promoted_behind,
            "disk full of data": self._full_of_data,
            "disk full of WAL": self._full_of_wal,
            "prepared and forgotten": self._forgotten,
        }
        return faults[now.fault](now)

    @contextmanager
    def _postmaster_killed(self, now: Round) -> Iterator[None]:
        replication.kill(self.cluster.primary)
        self.cluster.primary.start()
        yield

    @contextmanager
    def _killed_while_commits_wait(self, now: Round) -> Iterator[None]:
        """The standby confirms nothing for a while: where commits wait for it, they all do."""
        with self._frozen(self._signal_walreceiver(signal.SIGSTOP)):
            self.journal.wait_for(self.journal.finished + now.lasts)
            replication.kill(self.cluster.primary)
        self.cluster.primary.start()
        yield

    @contextmanager
    def _immediate_stop(self, now: Round) -> Iterator[None]:
        self.cluster.primary.stop("immediate")
        self.cluster.primary.start()
        yield

    @contextmanager
    def _backend_killed(self, now: Round) -> Iterator[None]:
        # The postmaster then ends all sessions, and recovers as from a crash.
        self._signal_backend(now.victim, signal.SIGKILL)
        yield

    @contextmanager
    def _sealer_killed(self, now: Round) -> Iterator[None]:
        with self._sealing():
            self.watchers.sealer.kill()
        yield

    @contextmanager
    def _sealers_backend_killed(self, now: Round) -> Iterator[None]:
        with self._sealing() as backend:
            os.kill(backend, signal.SIGKILL)
            self.watchers.sealer.answer()
        yield

    @contextmanager
    def _sealing(self) -> Iterator[int]:
        """A seal has begun and waits; gives its backend. It goes on in the end."""
        primary = self.cluster.primary
        with (
            self.watchers.sealer.lock,
            self.cluster.connect("nemesis").conn as conn,
            suppress(psycopg.OperationalError),
            conn.transaction(),
        ):
            audit.hold_seals(conn)
            self.watchers.sealer.ask(primary.dsn())
            replication.wait_until(lambda: bool(self._waiting()), "sealing")
            yield self._waiting()[0][0]

    def _waiting(self) -> list[tuple[int]]:
        return replication.execute(
            self.cluster.primary,
            "SELECT pid FROM pg_stat_activity WHERE application_name = %s "
            "AND wait_event_type = 'Lock'",
            sealer.NAME,
        )

    def _backend_frozen(self, now: Round) -> AbstractContextManager[None]:
        return self._frozen(self._signal_backend(now.victim, signal.SIGSTOP))

    def _walreceiver_frozen(self, now: Round) -> AbstractContextManager[None]:
        return self._frozen(self._signal_walreceiver(signal.SIGSTOP))

    @contextmanager
    def _frozen(self, process: int) -> Iterator[None]:
        """A process that was stopped; it goes on in the end."""
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)

    @contextmanager
    def _promoted_behind(self, now: Round) -> Iterator[None]:
        """The primary goes on alone for a while, and is lost; later it follows the other."""
        flushed = replication.cut_off(self.cluster.standby)
        self.journal.wait_for(self.journal.finished + now.lasts)
        if not self.synchronous:
            # Without a standby nothing holds a checkpoint back. Where commits wait, no seal ends.
            self.watchers.seal(1)
            self.watchers.checkpoint(1)
        self.cluster.fail_over(flushed)
        self.journal.say("failover", flushed=flushed)
        yield
        replication.rewind(self.cluster.standby, self.cluster.primary)

    @contextmanager
    def _full_of_data(self, now: Round) -> Iterator[None]:
        """Tables cannot grow; WAL, in files of a megabyte, can.

        The engine's table has room, so that it is the audit's that has none.
        """
        postmaster = replication.postmaster(self.cluster.primary)
        for process in (postmaster, *self._sessions()):
            replication.limit_files(process, _MEGABYTE)
        try:
            yield
        finally:
            for process in (postmaster, *replication.children(postmaster)):
                replication.limit_files(process, None)

    @contextmanager
    def _full_of_wal(self, now: Round) -> Iterator[None]:
        """Sessions cannot write WAL: the first that has to crashes the server, and it recovers."""
        sessions = self._sessions()
        for process in sessions:
            replication.limit_files(process, _PAGE)
        try:
            yield
        finally:
            for process in sessions:
                replication.limit_files(process, None)

    @contextmanager
    def _forgotten(self, now: Round) -> Iterator[None]:
        with closing(Writer(len(self.writers), self.cluster, self.journal)) as forgetful:
            forgetful.perform(now.forgotten, forget=True)
        yield

    def _sessions(self) -> list[int]:
        found = replication.execute(
            self.cluster.primary,
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'",
        )
        return [pid for (pid,) in found]

    def _signal_backend(self, victim: int, sent: signal.Signals) -> int:
        """Send a signal to a writer's backend, or to that of the next who has one; gives it."""

        def find() -> list[int]:
            sessions = [writer.session for writer in self.writers]
            in_turn = [*sessions[victim:], *sessions[:victim]]
            # Who writes nothing now may not know yet that his session is lost.
            alive = self._sessions()
            found = [each.conn.info.backend_pid for each in in_turn if each and not each.is_lost]
            return [process for process in found if process in alive]

        return _signal_first(find, sent)

    def _signal_walreceiver(self, sent: signal.Signals) -> int:
        def find() -> list[int]:
            standby = self.cluster.standby
            return [
                pid
                for (pid,) in replication.execute(standby, "SELECT pid FROM pg_stat_wal_receiver")
            ]

        return _signal_first(find, sent)


def _make_room(conn: Connection) -> None:
    """Leave room in the engine's transitions: rows that were rolled back, and vacuumed away."""
    with conn.transaction(force_rollback=True):
        conn.execute(_FILL)
    conn.execute(f"VACUUM (TRUNCATE off) {HOST.transitions}".encode())


# Two of three fit a page, and the third lies beside the table. They are few, as their keys stay:
# else the indexes of the engine would be full first.
_FILL = f"""
INSERT INTO {HOST.transitions} ({HOST.columns})
SELECT gen_random_uuid(), s.workflow_step_uuid, NULL, 'pending', to_json(m.metadata), -n, FALSE
FROM (SELECT workflow_step_uuid FROM {HOST.steps} LIMIT 1) AS s,
    generate_series(1, 900) AS n,
    LATERAL (
        SELECT string_agg(md5(n || ' ' || part), '') AS metadata
        FROM generate_series(1, CASE WHEN n % 3 > 0 THEN 50 ELSE 375 END) AS part
    ) AS m
""".encode()


def _signal_first(find: Callable[[], list[int]], sent: signal.Signals) -> int:
    """Send a signal to the first process that is found, as soon as there is one."""
    reached: list[int] = []

    def reach() -> bool:
        with suppress(psycopg.OperationalError, ProcessLookupError):
            for process in find()[:1]:
                os.kill(process, sent)
                reached.append(process)
        return bool(reached)

    replication.wait_until(reach, "reached by a signal")
    return reached[0]
