"""Erasures beside writers, holds and kills."""

from __future__ import annotations

import signal
import sys

import pytest
from psycopg import errors

from step_audit.database import Connection, call
from tests.lifecycle.test_changes import changes, engine, run  # noqa: F401 (a fixture)
from tests.lifecycle.test_erase import (
    MARKER,
    PLAIN,
    REASON,
    SCHEMA,
    erase,
    erasures,
    holders_of,
    metadata_of,
    record,
    rewrite,
)
from tests.lifecycle.test_sealed_changes import seal
from tests.support.command import succeed
from tests.support.connect import connect_again, dsn_of
from tests.support.host import (
    HOST,
    Transition,
    create_steps,
    insert_each,
)
from tests.support.stopping import end, line, started, wait_for, waiting


def test_a_writer_of_the_same_transition_is_waited_for_and_named(conn: Connection) -> None:
    result = record(conn)
    seal(conn)
    command = ("erase", "--task", str(result.step.task_uuid), *REASON, "--dsn", dsn_of(conn))
    patience = (
        *(sys.executable, "-c"),
        "from step_audit import patience; patience._PATIENCE = 0.2\n"
        "from step_audit.cli.cli import main; main()",
    )
    with connect_again(conn) as writer, writer.transaction():
        rewrite(writer, result, {"event": {"meanwhile": MARKER}})
        with started(*command, program=patience) as process:
            told = line(process)
            assert f"held by process {writer.info.backend_pid}" in told
            wait_for(lambda: bool(waiting(conn)), process)
            writer.execute("COMMIT")
            writer.execute("BEGIN")
            done = end(process)
    # What the writer left is not sealed.
    assert (done.code, "are not sealed" in done.err) == (1, True), done
    seal(conn)
    succeed(*command[:-2], to=conn)
    assert holders_of(conn, MARKER) == set()


def test_writers_and_erasers_at_once_lose_nothing(conn: Connection) -> None:
    """Whoever comes first, a version is either erased with its event or kept."""
    result = record(conn, {"event": 0})
    with connect_again(conn) as writer:
        for number in range(1, 20):
            seal(conn)
            with writer.transaction():
                rewrite(writer, result, {"event": number})
                with pytest.raises(errors.LockNotAvailable):
                    erase(conn, result)
            with pytest.raises(errors.ObjectNotInPrerequisiteState):
                erase(conn, result)
            if number % 5 == 0:
                seal(conn)
                assert erase(conn, result) > 0
    assert len(changes(conn)) == 19


def test_a_hold_of_a_correlation_id_keeps_all_that_an_erasure_by_it_would_take(
    conn: Connection,
) -> None:
    """Its task has it, and no result names it."""
    (step,) = create_steps(conn)
    result = record(conn, PLAIN, step)
    action = Transition(step, "cancelled", "{}", 2, "in_progress")
    insert_each(conn, [action])
    seal(conn)
    (task,) = conn.execute(
        b"SELECT correlation_id FROM tasker_tasks WHERE task_uuid = %s", (step.task_uuid,)
    ).fetchall()
    (held,) = call(
        conn,
        SCHEMA,
        "hold_step_result_audit",
        p_reason="litigation 17",
        p_correlation_id=task["correlation_id"],
    )
    assert held["records"] == 1
    for each in (result, action):
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match="is held"):
            erase(conn, each)
    call(conn, SCHEMA, "release_step_result_audit", p_hold=held["hold"], p_reason="settled")
    assert (erase(conn, result), erase(conn, action)) == (1, 1)


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_snapshot_that_is_older_than_a_hold_erases_nothing(conn: Connection, level: str) -> None:
    (step,) = create_steps(conn)
    result = record(conn, PLAIN, step)
    seal(conn)
    with connect_again(conn) as other:
        other.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
        other.execute(b"SELECT count(*) FROM pg_catalog.pg_class")
        call(
            conn,
            SCHEMA,
            "hold_step_result_audit",
            p_reason="litigation 17",
            p_task_uuid=step.task_uuid,
        )
        with pytest.raises(errors.InvalidTransactionState, match="needs READ COMMITTED"):
            erase(other, result)
    assert erasures(conn) == []


def test_a_killed_erasure_goes_on_in_the_next_run(conn: Connection) -> None:
    steps = create_steps(conn, 2)
    made = [record(conn, PLAIN, step) for step in steps]
    first, last = sorted(made, key=lambda each: each.transition_uuid)
    seal(conn)
    command = ("erase", "--task", str(steps[0].task_uuid), *REASON)
    with connect_again(conn) as writer, writer.transaction():
        writer.execute(
            f"SELECT FROM {HOST.transitions} WHERE workflow_step_transition_uuid = %s "
            "FOR UPDATE".encode(),
            (last.transition_uuid,),
        )
        with started(*command, "--dsn", dsn_of(conn)) as process:
            wait_for(lambda: bool(erasures(conn)), process)
            process.send_signal(signal.SIGKILL)
            assert process.wait(30) == -signal.SIGKILL
    assert [metadata_of(conn, each) is None for each in (first, last)] == [True, False]
    said = succeed(*command, to=conn)
    assert "1 transition erased already" in said
    assert "erased 1 transition\n" in said
    assert [metadata_of(conn, each) for each in (first, last)] == [None, None]
    assert len(erasures(conn)) == 2
