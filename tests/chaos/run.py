"""One seed from the first server to the last check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg

from step_audit.database import Connection
from tests.chaos import audit, checker
from tests.chaos.cluster import PATIENCE, Cluster, start_cluster
from tests.chaos.journal import ACKNOWLEDGED, FAILED, IN_DOUBT, Journal
from tests.chaos.nemesis import Nemesis
from tests.chaos.plan import WRITERS, Plan, Round, draw_plan
from tests.chaos.watchers import Verified, Watchers
from tests.chaos.writers import Writer, global_id
from tests.support import replication
from tests.support.connect import connect
from tests.support.host import HOST, insert_step
from tests.support.install import install_audit

_WATCHERS = 3


def run_seed(
    seed: int,
    folder: Path,
    notes: Path,
    rounds: int | None = None,
    prepare: Callable[[Connection], object] = lambda conn: None,
) -> None:
    """Run a seed, or its first rounds, and fail with all that is wrong, and how to replay it.

    Args:
        seed: what is drawn is drawn by it alone.
        folder: for the servers, whose user may enter it.
        notes: for the journal, which stays.
        rounds: how many; all by default.
        prepare: what is done to the database before the first of them.
    """
    plan = draw_plan(seed, rounds)
    journal = Journal(notes / f"chaos-{seed}.jsonl")
    try:
        with ExitStack() as at_end:
            journal.say("seed", seed=seed, synchronous=plan.synchronous)
            cluster = start_cluster(folder)
            at_end.callback(cluster.remove)
            watchers = Watchers(cluster, journal)
            at_end.callback(watchers.sealer.close)
            problems = list(Run(plan, cluster, journal, watchers, prepare).problems())
            if problems:
                problems.extend(cluster.explanations())
    except Exception as error:
        error.add_note(_replay(seed, journal))
        raise
    assert not problems, "\n".join([*problems, _replay(seed, journal)])


def _replay(seed: int, journal: Journal) -> str:
    return f"replay: STEP_AUDIT_CHAOS_SEED={seed} tox -e chaos; what happened: {journal.path}"


@dataclass
class Run:
    """A plan, and who carries it out."""

    plan: Plan
    cluster: Cluster
    journal: Journal
    watchers: Watchers
    prepare: Callable[[Connection], object]

    def problems(self) -> Iterator[str]:
        """Carry it out; gives all that is wrong."""
        self._begin()
        with ExitStack() as at_end:
            writers = [
                at_end.enter_context(closing(Writer(number, self.cluster, self.journal)))
                for number in range(WRITERS)
            ]
            writers[0].perform(self.plan.history)
            self._let_commits_wait()
            nemesis = Nemesis(
                self.cluster, self.journal, self.watchers, writers, self.plan.synchronous
            )
            for number, now in enumerate(self.plan.rounds):
                self._round(now, nemesis, writers)
                if problems := self._compare():
                    yield f"in round {number}, {now.fault}:"
                    yield from problems
                    return
        yield from self._end()

    def _begin(self) -> None:
        with self.cluster.connect("installer").conn as conn:
            HOST.create(conn)
            install_audit(conn)
            for step in self.plan.steps:
                insert_step(conn, step)
            self.prepare(conn)

    def _let_commits_wait(self) -> None:
        primary, standby = self.cluster.primary, self.cluster.standby
        replication.wait_until(lambda: replication.has_caught_up(standby, primary), "caught up")
        if self.plan.synchronous:
            for server in (primary, standby):
                replication.execute(server, "ALTER SYSTEM SET synchronous_standby_names = '*'")
            primary.stop()
            primary.start()
            standby.stop()
            standby.start()

    def _round(self, now: Round, nemesis: Nemesis, writers: list[Writer]) -> None:
        nemesis.prepare(now)
        begun = self.journal.finished
        with ThreadPoolExecutor(len(writers) + _WATCHERS) as pool:
            works = [
                *(pool.submit(w.run, ops) for w, ops in zip(writers, now.operations, strict=True)),
                pool.submit(self.watchers.seal, now.seals),
                pool.submit(self.watchers.checkpoint, now.seals),
                pool.submit(self.watchers.verify, now.seals),
            ]
            nemesis.strike(now, begun)
            for work in works:
                work.result(PATIENCE)

    def _compare(self) -> list[str]:
        found = self._count_results()
        return list(
            checker.check_results(
                self.journal.entries, found, self.cluster.flushed, self.plan.synchronous
            )
        )

    def _count_results(self) -> checker.Counts:
        # The server may have to notice yet that one of its processes was killed.
        while True:
            with (
                suppress(psycopg.OperationalError),
                self.cluster.connect("checker").conn as conn,
            ):
                return audit.count_results(conn)

    def _end(self) -> Iterator[str]:
        with self.cluster.connect("checker").conn as conn:
            yield from self._resolve(conn)
            while not audit.seal(conn):
                pass
            yield from self._compare()
            if unsealed := audit.count_unsealed(conn):
                yield f"{unsealed} audit rows without a leaf, or leaves without an audit row"
            yield from self._check_checkpoints(conn)
            found = audit.count_results(conn)
        self._summarize(found)
        yield from checker.check_verified(self.watchers.verified, self.cluster.flushed)
        primary, standby = self.cluster.primary, self.cluster.standby
        replication.wait_until(lambda: replication.has_caught_up(standby, primary), "caught up")
        with connect(standby.dsn()) as conn:
            if audit.count_results(conn) != found:
                yield "the standby shows other results and audit rows"

    def _resolve(self, conn: Connection) -> Iterator[str]:
        """Commit or roll back what is prepared still, as its writer meant to."""
        rows = conn.execute("SELECT gid FROM pg_prepared_xacts").fetchall()
        prepared = {row["gid"] for row in rows}
        for entry in self.journal.entries:
            if global_id(entry.operation) in prepared:
                commits = entry.operation.kind == "two-phase"
                verb = "COMMIT" if commits else "ROLLBACK"
                conn.execute(f"{verb} PREPARED '{global_id(entry.operation)}'".encode())
                entry.outcome = ACKNOWLEDGED if commits else FAILED
                entry.generation = self.cluster.generation
            elif entry.outcome == IN_DOUBT:
                if checker.must_be_prepared(entry, self.cluster.flushed):
                    yield f"what was prepared is gone: {entry}"
                entry.outcome = FAILED

    def _summarize(self, found: checker.Counts) -> None:
        """Note how much there was to find."""
        entries = self.journal.entries
        lost = [each for each in entries if not found.keys() & {*each.operation.kept_results}]
        self.journal.say(
            "end",
            outcomes=Counter(each.outcome for each in entries),
            not_there=Counter(each.outcome for each in lost),
            checkpoints=len(self.watchers.kept),
            durable_checkpoints=sum(each.is_durable for each in self.watchers.kept),
            excused_checkpoints=sum(
                checker.is_excused(each, self.cluster.flushed) for each in self.watchers.kept
            ),
            refused_checkpoints=len(self.watchers.refused),
        )

    def _check_checkpoints(self, conn: Connection) -> Iterator[str]:
        """Each is true, or lost by a failover and so named by verify."""
        hashes = audit.list_leaf_hashes(conn)
        newest = None
        for kept in self.watchers.kept:
            if checker.is_true(kept, hashes):
                newest = kept
                continue
            if kept.is_durable or not checker.is_excused(kept, self.cluster.flushed):
                yield f"no longer true, and no failover has lost it: {kept}"
            said = set(audit.verify(conn, kept.note).values())
            if said != {audit.LOST}:
                yield f"no longer true, and verify says {sorted(said)}: {kept}"
        for kept in self.watchers.refused:
            if checker.is_true(kept, hashes):
                yield f"refused to be extended, and true: {kept}"
        if newest is None:
            yield "no checkpoint is true"
        findings = audit.verify(conn, newest.note if newest else None)
        yield from checker.check_verified([Verified(newest, findings)], ())
