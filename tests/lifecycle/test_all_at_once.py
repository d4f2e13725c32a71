"""Writers, deleters, a sealer, a verifier, an eraser and a purger at once: nobody is in the way.

All are bounded by counts: who keeps the audit goes on until the engine has done its work.
"""

from __future__ import annotations

import itertools
import json
import queue
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from step_audit.database import Connection
from step_audit.trust.erase import Subject, plan_erasure, run_erasure
from step_audit.trust.purge import run_purge
from step_audit.trust.verify import verify
from tests.lifecycle.test_changes import changes, engine, run  # noqa: F401 (a fixture)
from tests.lifecycle.test_cleanup import seal
from tests.lifecycle.test_purge import count, now
from tests.lifecycle.test_purge import named as purged_leaves
from tests.support.connect import connect_again
from tests.support.host import FAILED, HOST, OK, Step, Transition, create_steps, insert_each

WRITERS = 3
TASKS = 60
AUDIT, EVENTS = (
    f"{HOST.audit_schema}.{name}"
    for name in ("tasker_workflow_step_result_audit", "step_audit_events")
)
UPDATE = f"UPDATE {HOST.transitions} SET metadata = %s WHERE workflow_step_transition_uuid = %s"
OF_TASK = (
    f"workflow_step_uuid IN (SELECT workflow_step_uuid FROM {HOST.steps} WHERE task_uuid = %s)"
)


class Engine:
    """What the engine has written, and what is left to be deleted and erased."""

    def __init__(self) -> None:
        self.old: queue.SimpleQueue[Step | None] = queue.SimpleQueue()
        self.unwanted: queue.SimpleQueue[Step] = queue.SimpleQueue()
        self.done = threading.Event()
        self.recorded = itertools.count()

    def write(self, number: int, conn: Connection) -> None:
        """Results of task after task, some of them rewritten."""
        draw = random.Random(number)
        for task in range(TASKS):
            steps = create_steps(conn, 2)
            results = []
            for step, key in itertools.product(steps, (1, 2)):
                with conn.transaction():
                    metadata = json.dumps({"event": {"success": bool(key % 2), "n": number}})
                    results.append(Transition(step, draw.choice([OK, FAILED]), metadata, key))
                    insert_each(conn, results[-1:])
                    next(self.recorded)
            for result in draw.sample(results, 2):
                run(conn, UPDATE, json.dumps({"event": draw.random()}), result.transition_uuid)
            # One of four only stays, one is erased, one deleted, and one both.
            if task % 4 > 1:
                self.unwanted.put(steps[0])
            if task % 2:
                self.old.put(steps[0])

    def delete(self, conn: Connection) -> None:
        """A task at a time, with all that hangs on it."""
        while step := self.old.get():
            with conn.transaction():
                run(conn, f"DELETE FROM {HOST.transitions} WHERE {OF_TASK}", step.task_uuid)
                run(conn, f"DELETE FROM {HOST.steps} WHERE task_uuid = %s", step.task_uuid)
                run(conn, f"DELETE FROM {HOST.tasks} WHERE task_uuid = %s", step.task_uuid)


class Keepers:
    """Who keeps the audit while the engine works, in sessions of their own."""

    def __init__(self) -> None:
        self.acts = (self.seal, self.verify, self.erase, self.purge)
        self.working = Engine()
        self.rounds = [0 for _ in self.acts]
        self.found: list[str] = []

    def go_on(self, number: int, conn: Connection) -> None:
        """Again and again, and once more when the engine is done."""
        is_last = False
        while not is_last:
            is_last = self.working.done.is_set()
            self.acts[number](conn)
            self.rounds[number] += 1

    def seal(self, conn: Connection) -> None:
        seal(conn)

    def verify(self, conn: Connection) -> None:
        report = verify(conn, HOST.audit_schema, workers=1)
        self.found += [str(each) for each in report.findings]

    def erase(self, conn: Connection) -> None:
        unwanted = drain(self.working.unwanted)
        seal(conn)
        for step in unwanted:
            plan = plan_erasure(conn, HOST.audit_schema, Subject(task=step.task_uuid))
            for _ in run_erasure(conn, HOST.audit_schema, plan, "request 62", "ann"):
                pass

    def purge(self, conn: Connection) -> None:
        for _ in run_purge(conn, HOST.audit_schema, now(conn), "years are over"):
            pass


def drain(tasks: queue.SimpleQueue[Step]) -> list[Step]:
    """All that is in a queue that one thread reads."""
    return [tasks.get() for _ in range(tasks.qsize())]


def test_nothing_fails_and_nothing_is_found(conn: Connection) -> None:
    keepers = Keepers()
    working = keepers.working

    def in_session(act: Callable[..., None], *arguments: object) -> None:
        with connect_again(conn) as other:
            act(*arguments, other)

    with ThreadPoolExecutor(WRITERS + 2 + len(keepers.acts)) as pool:
        keeping = [
            pool.submit(in_session, keepers.go_on, number) for number in range(len(keepers.acts))
        ]
        deleters = [pool.submit(in_session, working.delete) for _ in range(2)]
        writers = [pool.submit(in_session, working.write, number) for number in range(WRITERS)]
        try:
            for writer in writers:
                writer.result()
        finally:
            for _ in deleters:
                working.old.put(None)
        try:
            for deleter in deleters:
                deleter.result()
        finally:
            working.done.set()
        for each in keeping:
            each.result()

    assert keepers.found == []
    seal(conn)
    assert verify(conn, HOST.audit_schema, workers=1).findings == ()
    keepers.purge(conn)
    seal(conn)
    assert verify(conn, HOST.audit_schema, workers=1).findings == ()

    assert min(keepers.rounds) > 1
    recorded = WRITERS * TASKS * 4
    assert next(working.recorded) == recorded
    assert count(conn, HOST.transitions) == recorded / 2
    # What stands no more is purged, once each; of what stands all is there.
    assert count(conn, AUDIT) == recorded / 2
    assert len(purged_leaves(conn)) == len(set(purged_leaves(conn))) > recorded / 2
    assert {each["operation"] for each in changes(conn)} == {"update"}
    standing = f"SELECT workflow_step_transition_uuid FROM {HOST.transitions}"
    erased = f"kind = 'erased' AND workflow_step_transition_uuid IN ({standing})"
    assert count(conn, EVENTS, erased) == recorded / 4
