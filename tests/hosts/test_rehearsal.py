"""The life of an audit on a copy of production, while the engine's worker never stops writing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import psycopg
import pytest

from tests.hosts.backups import by_pg_restore
from tests.hosts.conftest import EmptyWorld
from tests.hosts.engines import CLASSIC, TASKER, WORKER, Engine
from tests.hosts.operations import assert_nothing_found
from tests.hosts.world import World, create_engine
from tests.support.audit import expected_rows
from tests.support.connect import connect, dsn_of
from tests.support.host import Transition
from tests.support.results import record_results

# The migrations are refused while attached. They lock tables in the order in which the worker does.
ENGINES = [
    Engine(
        "classic",
        CLASSIC,
        migration="""
            ALTER TABLE tasker_named_steps ALTER name TYPE text;
            ALTER TABLE tasker_workflow_step_transitions
            ALTER sort_key TYPE bigint, ALTER metadata TYPE json;
        """,
    ),
    Engine(
        "tasker",
        TASKER,
        migration="""
            ALTER TABLE named_steps ALTER name TYPE text;
            ALTER TABLE workflow_step_transitions
            ALTER created_at TYPE timestamptz USING created_at AT TIME ZONE 'UTC',
            ALTER created_at SET DEFAULT now();
        """,
    ),
]


@dataclass
class Writer:
    """The engine's worker: results one after the other, until it is told to stop."""

    world: World
    written: list[Transition] = field(default_factory=list)
    error: psycopg.Error | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _news: threading.Condition = field(default_factory=threading.Condition)

    def write(self) -> None:
        dsn = dsn_of(self.world.conn, user=WORKER)
        with connect(dsn, self.world.host, prepare_threshold=None) as conn:
            while not self._stop.is_set() and self.error is None:
                recorded = []
                try:
                    with conn.transaction():
                        recorded = record_results(conn, 2, self.world.host)
                except psycopg.Error as error:
                    self.error = error
                with self._news:
                    self.written += recorded
                    self._news.notify_all()

    def goes_on(self) -> None:
        """Wait until it has written something more."""
        with self._news:
            before = len(self.written)
            assert self._news.wait_for(lambda: self.error or len(self.written) > before + 2, 60)
        if self.error:
            raise self.error

    def stop(self) -> None:
        self._stop.set()


@contextmanager
def writing(world: World) -> Iterator[Writer]:
    writer = Writer(world)
    thread = threading.Thread(target=writer.write)
    thread.start()
    try:
        yield writer
    finally:
        writer.stop()
        thread.join()


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_rehearsal_on_a_copy_of_production(
    empty_world: EmptyWorld, tmp_path: Path, engine: Engine
) -> None:
    production, copy = empty_world(engine), empty_world(engine)
    create_engine(production.conn, engine)
    past = production.record(20)
    by_pg_restore(production, copy, tmp_path, "-Fc")

    with writing(copy) as worker:
        worker.goes_on()
        assert "\nbackfill: " in copy.run("install", "--batch-size", "10")
        worker.goes_on()
        assert_all_audited(copy)

        with pytest.raises(psycopg.errors.FeatureNotSupported, match="used by a view"):
            copy.migrate(engine.migration)
        worker.goes_on()
        copy.run("detach")
        worker.goes_on()
        copy.migrate(engine.migration)
        worker.goes_on()
        assert copy.status()["attached"] is False
        assert "\nbackfill: " in copy.run("attach")
        worker.goes_on()
        assert_all_audited(copy)

        copy.run("seal")
        assert copy.run("verify").endswith("findings: 0\n")
        worker.goes_on()
        copy.run("uninstall", "--yes")
        worker.goes_on()
        kept = copy.audited()
        worker.goes_on()
    assert worker.error is None

    written = {each.transition_uuid for each in past + worker.written}
    assert kept == copy.audited() < written
    copy.install()
    assert {uuid: replace(row, backfilled=True) for uuid, row in copy.rows().items()} == (
        expected_rows(past + worker.written, backfilled=True)
    )
    assert_nothing_found(copy, len(written))


def assert_all_audited(world: World) -> None:
    """Results are audited as they come, and none was missed before."""
    status = world.status()
    assert (status["attached"], status["problems"], status["unaudited"]) == (True, None, 0)
