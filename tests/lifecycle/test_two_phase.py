"""Changes and deletes in a prepared transaction: they are there once it is committed, or never."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from step_audit import patience
from step_audit.database import Connection
from step_audit.trust.purge import Purged, run_purge
from tests.lifecycle.test_changes import changes, engine, run  # noqa: F401 (a fixture)
from tests.lifecycle.test_cleanup import seal
from tests.lifecycle.test_purge import now
from tests.lifecycle.test_sealed_changes import found
from tests.support.connect import connect_again
from tests.support.host import HOST, OK, Transition, create_steps, insert_each
from tests.support.results import record_results

COMMIT, ROLLBACK = "COMMIT PREPARED", "ROLLBACK PREPARED"


@contextmanager
def prepared(conn: Connection, name: str) -> Iterator[Connection]:
    """A session whose transaction is prepared at the end; nothing of it is left behind."""
    with connect_again(conn) as other:
        other.execute("BEGIN")
        yield other
        other.execute(f"PREPARE TRANSACTION '{name}'".encode())


@pytest.fixture
def names(conn: Connection) -> Iterator[list[str]]:
    """The names of two transactions, which are of the whole server."""
    chosen = [str(uuid.uuid4()), str(uuid.uuid4())]
    yield chosen
    for row in conn.execute("SELECT gid FROM pg_prepared_xacts WHERE gid = ANY(%s)", (chosen,)):
        run(conn, f"ROLLBACK PREPARED '{row['gid']}'")


def change(conn: Connection, result: Transition) -> None:
    run(
        conn,
        f"UPDATE {HOST.transitions} SET metadata = %s WHERE workflow_step_transition_uuid = %s",
        json.dumps({"event": str(result.transition_uuid)}),
        result.transition_uuid,
    )


def delete(conn: Connection, result: Transition) -> None:
    run(
        conn,
        f"DELETE FROM {HOST.transitions} WHERE workflow_step_transition_uuid = %s",
        result.transition_uuid,
    )


def record_more(conn: Connection) -> Transition:
    result = Transition(create_steps(conn)[0], OK, '{"event": {"success": true}}', 2)
    insert_each(conn, [result])
    return result


@pytest.mark.parametrize("sealed_first", [True, False], ids=["sealed", "unsealed"])
@pytest.mark.parametrize("end", [COMMIT, ROLLBACK])
def test_it_is_sealed_once_it_is_committed(
    conn: Connection, names: list[str], end: str, sealed_first: bool
) -> None:
    """A seal beside it takes what others have committed since, and passes nothing by."""
    results = record_results(conn, 4)
    if sealed_first:
        assert seal(conn) == 4
    with prepared(conn, names[0]) as other:
        change(other, results[0])
        change(other, results[1])
        delete(other, results[1])
        new = record_more(other)
        change(other, new)
    assert changes(conn) == []
    assert seal(conn) == (0 if sealed_first else 4)
    assert found(conn) == []
    delete(conn, results[2])
    record_more(conn)
    assert seal(conn) == 2
    assert found(conn) == []

    run(conn, f"{end} '{names[0]}'")
    beside = Counter({(results[2].transition_uuid, "delete"): 1})
    inside = Counter(
        [
            (results[0].transition_uuid, "update"),
            (results[1].transition_uuid, "update"),
            (results[1].transition_uuid, "delete"),
            (new.transition_uuid, "update"),
        ]
    )
    expected = beside + inside if end == COMMIT else beside
    kept = Counter((k["workflow_step_transition_uuid"], k["operation"]) for k in changes(conn))
    assert kept == expected
    assert found(conn) == []
    # The new result is in it too.
    assert seal(conn) == (5 if end == COMMIT else 0)
    assert found(conn) == []
    assert seal(conn) == 0


def test_two_of_them_are_sealed_in_the_order_of_their_commits(
    conn: Connection, names: list[str]
) -> None:
    results = record_results(conn, 2)
    assert seal(conn) == 2
    for name, result in zip(names, results, strict=True):
        with prepared(conn, name) as other:
            change(other, result)
    for name in reversed(names):
        assert seal(conn) == 0
        run(conn, f"{COMMIT} '{name}'")
        assert seal(conn) == 1
        assert found(conn) == []


@pytest.mark.parametrize("end", [COMMIT, ROLLBACK])
def test_a_purge_waits_for_it_and_takes_what_it_left(
    conn: Connection, names: list[str], end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "_PATIENCE", 0.1)
    results = record_results(conn, 3)
    delete(conn, results[0])
    assert seal(conn) == 4
    with prepared(conn, names[0]) as other:
        delete(other, results[1])
    assert seal(conn) == 0
    steps = run_purge(conn, HOST.audit_schema, now(conn), "7 years")
    said = next(steps)
    assert (said.records, said.changes) == (0, 0)
    assert f"prepared transaction {names[0]}" in (said.holders or "")
    assert found(conn) == []

    run(conn, f"{end} '{names[0]}'")
    *_, done = steps
    gone = 1 if end == COMMIT else 0
    assert done == Purged(records=1, changes=1, kept_unsealed=gone, kept_by_engine=2 - gone)
    seal(conn)
    assert found(conn) == []
    *_, done = run_purge(conn, HOST.audit_schema, now(conn), "7 years")
    assert done == Purged(records=gone, changes=gone, kept_by_engine=2 - gone)
    seal(conn)
    assert found(conn) == []
