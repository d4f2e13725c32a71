"""Erasure in engines of all kinds, and of whatever became of a result there."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from psycopg import errors

from step_audit.database import Connection
from step_audit.setup import installer
from step_audit.setup.script import Target
from tests.faults.test_hostile_metadata import let_metadata_be
from tests.lifecycle.test_changes import changes, engine, run  # noqa: F401 (a fixture)
from tests.lifecycle.test_erase import (
    MARKER,
    PLAIN,
    REASON,
    SALTS,
    SCHEMA,
    delete,
    erase,
    erasures,
    full_task,
    holders_of,
    metadata_of,
    record,
    rewrite,
    rows,
)
from tests.lifecycle.test_sealed_changes import seal
from tests.support.command import run as step_audit
from tests.support.command import succeed
from tests.support.host import (
    HOST,
    OK,
    Transition,
    create_steps,
    disable_own_audit,
    insert_each,
)


def not_null(conn: Connection) -> None:
    run(conn, f"ALTER TABLE {HOST.transitions} ALTER metadata SET NOT NULL")


@pytest.mark.parametrize("column", ["json", "jsonb"])
@pytest.mark.parametrize("takes_null", [True, False])
def test_hosts_of_all_kinds(conn: Connection, column: str, takes_null: bool) -> None:
    let_metadata_be(conn, column)
    if not takes_null:
        not_null(conn)
    step, made = full_task(conn)
    hostile = Transition(
        create_steps(conn)[0], OK, json.dumps({"event": MARKER, "n": 1e300, "x": "é\t\\"}), 1
    )
    insert_each(conn, [hostile])
    if column == "json":
        # Which no jsonb can hold.
        made.append(record(conn, '{"event": {"note": "\\u0000 ' + MARKER + '"}}', step, 9))
    seal(conn)
    assert holders_of(conn, MARKER) != set()
    succeed("erase", "--task", str(step.task_uuid), *REASON, to=conn)
    succeed("erase", "--task", str(hostile.step.task_uuid), *REASON, to=conn)
    assert holders_of(conn, MARKER) == set()
    empty = None if takes_null else "{}"
    assert [metadata_of(conn, each) for each in (*made[:3], *made[5:], hostile)] == [empty] * (
        5 if column == "json" else 4
    )
    assert len(changes(conn)) == 3
    assert erase(conn, hostile) == 0
    seal(conn)


def test_a_result_without_metadata_is_erased_too(conn: Connection) -> None:
    result = Transition(create_steps(conn)[0], OK, None, 1)
    insert_each(conn, [result])
    seal(conn)
    assert erase(conn, result) == 1
    assert rows(conn, f"SELECT FROM {SALTS}") == []


def test_a_result_that_is_one_no_more_is_erased_too(conn: Connection) -> None:
    result = record(conn)
    run(conn, f"UPDATE {HOST.transitions} SET to_state = 'error'")
    seal(conn)
    assert erase(conn, result) == 2
    assert metadata_of(conn, result) is None
    assert holders_of(conn, MARKER) == set()
    # What the engine writes there now is no result's.
    rewrite(conn, result, {"event": 1})
    assert erase(conn, result) == 0


def test_a_result_that_came_again_is_erased_in_all_its_versions(conn: Connection) -> None:
    result = record(conn)
    delete(conn, result)
    insert_each(conn, [result])
    rewrite(conn, result, {"event": {"again": MARKER}})
    seal(conn)
    assert erase(conn, result) == 4
    assert holders_of(conn, MARKER) == set()
    delete(conn, result)
    insert_each(conn, [result])
    seal(conn)
    assert holders_of(conn, MARKER) != set()
    assert erase(conn, result) == 2
    assert holders_of(conn, MARKER) == set()


def test_what_the_engine_does_later_is_kept_sealed_and_erased_again(conn: Connection) -> None:
    result = record(conn)
    seal(conn)
    erase(conn, result)
    assert changes(conn) == []
    rewrite(conn, result, {"event": {"later": MARKER}})
    (change,) = changes(conn)
    assert (change["operation"], change["payload"]) == ("update", None)
    delete(conn, result)
    assert [each["operation"] for each in changes(conn)] == ["update", "delete"]
    assert MARKER in changes(conn)[1]["payload"]
    # The event of the erasure, and two changes.
    assert seal(conn)["sealed"] == 3
    assert erase(conn, result) == 2
    first, second = erasures(conn)
    assert [leaf[0] for leaf in first["payload"]["leaves"]] == [0]
    assert [leaf[0] for leaf in second["payload"]["leaves"]] == [1, 2]
    assert holders_of(conn, MARKER) == set()


def trigger(body: str) -> list[str]:
    return [
        f"CREATE FUNCTION before() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {body} END$$",
        f"CREATE TRIGGER before BEFORE UPDATE ON {HOST.transitions} "
        "FOR EACH ROW EXECUTE FUNCTION before()",
    ]


@pytest.mark.parametrize(
    ("obstacle", "why"),
    [
        (
            trigger("NEW.metadata := coalesce(NEW.metadata, OLD.metadata); RETURN NEW;"),
            "brings it back",
        ),
        (trigger("RETURN NULL;"), "brings it back"),
        (trigger("NEW.sort_key := OLD.sort_key + 7; RETURN NEW;"), "changes more than it"),
        (trigger("RAISE insufficient_privilege USING MESSAGE = 'kept';"), ": kept; nothing"),
        (trigger("RAISE 'not by me';"), "not by me"),
        (
            [f"ALTER TABLE {HOST.transitions} ADD CHECK (metadata IS NOT NULL)"],
            "violates check constraint",
        ),
    ],
)
def test_a_host_that_keeps_it_is_refused_and_does_not_stop_the_others(
    conn: Connection, obstacle: list[str], why: str
) -> None:
    steps = create_steps(conn, 2)
    results = [record(conn, PLAIN, step) for step in steps]
    delete(conn, results[1])
    seal(conn)
    for statement in obstacle:
        run(conn, statement)
    done = step_audit("erase", "--task", str(steps[0].task_uuid), *REASON, to=conn)
    assert done.code == 1
    assert why in done.err
    assert "nothing of it was erased" in done.err
    assert "erased 1 transition\n" in done.out
    assert MARKER in (metadata_of(conn, results[0]) or "")
    (event,) = erasures(conn)
    assert event["workflow_step_transition_uuid"] == results[1].transition_uuid


def test_metadata_that_the_engine_computes_is_its_own_to_change(conn: Connection) -> None:
    installer.detach(conn, SCHEMA, "5s")
    for clause in (
        "DROP metadata",
        "ADD raw jsonb",
        "ADD metadata jsonb GENERATED ALWAYS AS (raw) STORED",
    ):
        run(conn, f"ALTER TABLE {HOST.transitions} {clause}")
    installer.attach(conn, SCHEMA, Target())
    disable_own_audit(conn)
    result = Transition(create_steps(conn)[0], OK, json.dumps(PLAIN), 1)
    insert_each(conn, [result], replace(HOST, metadata="raw"))
    seal(conn)
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="keeps the metadata"):
        erase(conn, result)
    run(conn, f"UPDATE {HOST.transitions} SET raw = NULL")
    seal(conn)
    assert erase(conn, result) == 2
    assert holders_of(conn, MARKER) == set()
