"""What is erased is nowhere in our tables, and the log still says that it was sealed."""

from __future__ import annotations

import hashlib
import json
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import errors

from step_audit.database import Connection, call
from step_audit.setup import installer
from step_audit.setup.script import Target
from tests.faults.test_hostile_metadata import let_metadata_be
from tests.lifecycle.test_changes import changes, engine, run  # noqa: F401 (a fixture)
from tests.lifecycle.test_operator_actions import EVENTS
from tests.lifecycle.test_sealed_changes import CHANGES, behind_our_back, seal
from tests.support.command import run as step_audit
from tests.support.command import succeed
from tests.support.connect import connect_again, dsn_of
from tests.support.host import (
    HOST,
    OK,
    Step,
    Transition,
    create_steps,
    disable_own_audit,
    insert_each,
)
from tests.support.roles import login_roles
from tests.support.stopping import end, line, started, wait_for, waiting

MARKER = "erase-me-62"
SCHEMA = HOST.audit_schema
AUDIT = f"{SCHEMA}.tasker_workflow_step_result_audit"
ANOMALIES = f"{AUDIT}_anomalies"
SALTS = f"{SCHEMA}.step_audit_salts"
LEAVES = f"{SCHEMA}.step_audit_leaves"
PLAIN = {"event": {"success": True, "note": MARKER}}
REASON = ("--reason", "request 62", "--yes")


def record(
    conn: Connection, metadata: Any = PLAIN, step: Step | None = None, sort_key: int = 1
) -> Transition:
    """Write a result; of a step of its own where none is given."""
    text = metadata if isinstance(metadata, str) else json.dumps(metadata)
    made = Transition(step or create_steps(conn)[0], OK, text, sort_key)
    insert_each(conn, [made])
    return made


def erase(conn: psycopg.Connection[Any], transition: Transition | UUID) -> int:
    """Erase one transition; gives how many leaves."""
    key = transition if isinstance(transition, UUID) else transition.transition_uuid
    (row,) = call(
        conn,
        SCHEMA,
        "erase_step_audit_transition",
        p_transition_uuid=key,
        p_reason="request 62",
        p_operator="ann",
    )
    leaves: int = row["leaves"]
    return leaves


def rows(conn: Connection, query: str, *arguments: Any) -> list[dict[str, Any]]:
    return conn.execute(query.encode(), arguments).fetchall()


def audit_uuid(conn: Connection, transition: Transition) -> UUID:
    (row,) = rows(
        conn,
        f"SELECT workflow_step_result_audit_uuid AS it FROM {AUDIT} "
        "WHERE workflow_step_transition_uuid = %s",
        transition.transition_uuid,
    )
    found: UUID = row["it"]
    return found


def metadata_of(conn: Connection, transition: Transition) -> str | None:
    (row,) = rows(
        conn,
        f"SELECT metadata::text AS it FROM {HOST.transitions} "
        "WHERE workflow_step_transition_uuid = %s",
        transition.transition_uuid,
    )
    text: str | None = row["it"]
    return text


def erasures(conn: Connection) -> list[dict[str, Any]]:
    return rows(
        conn, f"SELECT * FROM {EVENTS} WHERE kind = 'erased' ORDER BY step_audit_event_uuid"
    )


def holders_of(conn: Connection, text: str) -> set[str]:
    """The columns of our tables, and of the engine's results, that hold a text."""
    tables = [
        f"{SCHEMA}.{row['table_name']}" for row in call(conn, SCHEMA, "list_step_audit_tables")
    ]
    found = set()
    for table in [*tables, HOST.transitions]:
        results = "to_state LIKE 'enqueued_%%'" if table == HOST.transitions else "TRUE"
        for column in rows(
            conn,
            "SELECT attname AS name FROM pg_attribute "
            "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
            table,
        ):
            (count,) = rows(
                conn,
                f"SELECT count(*) AS rows FROM {table} "
                f"WHERE {results} AND {column['name']}::text LIKE %s",
                f"%{text}%",
            )
            if count["rows"]:
                found.add(f"{table.rpartition('.')[2]}.{column['name']}")
    return found


def rewrite(conn: psycopg.Connection[Any], transition: Transition, metadata: Any) -> None:
    """Let the engine change the metadata of a result."""
    conn.execute(
        f"UPDATE {HOST.transitions} SET metadata = %s "
        "WHERE workflow_step_transition_uuid = %s".encode(),
        (json.dumps(metadata), transition.transition_uuid),
    )


def delete(conn: Connection, transition: Transition) -> None:
    run(
        conn,
        f"DELETE FROM {HOST.transitions} WHERE workflow_step_transition_uuid = %s",
        transition.transition_uuid,
    )


def attribute(conn: Connection, action: Transition) -> None:
    call(
        conn,
        SCHEMA,
        "attribute_operator_action",
        p_transition_uuid=action.transition_uuid,
        p_operator=MARKER,
        p_reason=f"as {MARKER} said",
        p_source=MARKER,
    )


def full_task(conn: Connection) -> tuple[Step, list[Transition]]:
    """A task with the marker wherever it can be: its results, and an operator's action."""
    first, second = create_steps(conn, 2)
    nested = record(conn, {"event": {"data": {"a": [{"b": MARKER}]}, MARKER: 1}}, first)
    odd = record(conn, {"event": PLAIN["event"], "worker_uuid": f"worker of {MARKER}"}, first, 2)
    changed = record(conn, PLAIN, first, 3)
    rewrite(conn, changed, {"event": {"note": "harmless"}})
    rewrite(conn, changed, {"event": {"again": MARKER}})
    deleted = record(conn, PLAIN, second)
    delete(conn, deleted)
    action = Transition(
        second, "cancelled", json.dumps({"event": {"reason": MARKER}}), 2, "in_progress"
    )
    insert_each(conn, [action])
    attribute(conn, action)
    attribute(conn, action)
    return first, [nested, odd, changed, deleted, action]


def test_nothing_of_a_task_is_left_in_our_tables(conn: Connection) -> None:
    step, made = full_task(conn)
    other = record(conn, {"event": {"note": "somebody else"}})
    seal(conn)
    assert holders_of(conn, MARKER) == {
        f"{HOST.transitions.rpartition('.')[2]}.metadata",
        "step_audit_changes.metadata",
        "step_audit_events.payload",
        "tasker_workflow_step_result_audit_anomalies.raw_value",
    }
    said = succeed("erase", "--task", str(step.task_uuid), *REASON, "--operator", "ann", to=conn)
    assert holders_of(conn, MARKER) == set()
    assert metadata_of(conn, other) is not None
    assert "3 rows of" in said
    assert "3 rows of " + CHANGES in said
    assert "1 row of " + ANOMALIES in said
    assert "3 rows of " + EVENTS in said
    assert "10 salts" in said
    assert "erased 5 transitions" in said
    assert {each["workflow_step_transition_uuid"] for each in erasures(conn)} == {
        each.transition_uuid for each in made
    }
    # What stays is what the columns of the audit row have, and who did what.
    assert len(rows(conn, f"SELECT FROM {AUDIT}")) == 5
    assert len(rows(conn, f"SELECT FROM {SALTS}")) == 1


def test_what_is_erased_again_is_not_written_again(conn: Connection) -> None:
    step, _ = full_task(conn)
    seal(conn)
    command = ("erase", "--task", str(step.task_uuid), *REASON)
    succeed(*command, to=conn)
    assert len(erasures(conn)) == 5
    said = succeed(*command, to=conn)
    assert "5 transitions erased already" in said
    assert "5 transitions had been erased before: nothing was written" in said
    assert len(erasures(conn)) == 5


def test_an_event_says_who_when_and_why(conn: Connection) -> None:
    result = record(conn)
    seal(conn)
    assert erase(conn, result) == 1
    (event,) = erasures(conn)
    assert event["task_uuid"] == result.step.task_uuid
    assert event["workflow_step_uuid"] == result.step.step_uuid
    assert event["workflow_step_transition_uuid"] == result.transition_uuid
    assert event["recorded_by"] == "postgres"
    (leaf,) = event["payload"].pop("leaves")
    assert (leaf[0], len(leaf[1]), *leaf[2:]) == (0, 64, None, "postgres")
    (stands,) = rows(
        conn,
        "SELECT jsonb_build_array(workflow_step_transition_uuid, workflow_step_uuid, from_state, "
        f"to_state, sort_key::bigint, {SCHEMA}.get_utc_time(created_at)) AS it "
        f"FROM {HOST.transitions} WHERE workflow_step_transition_uuid = %s",
        result.transition_uuid,
    )
    assert event["payload"].pop("standing") == stands["it"]
    assert event["payload"] == {"reason": "request 62", "operator": "ann"}
    seal(conn)


def hash_of(elements: list[Any]) -> bytes:
    text = json.dumps(elements, ensure_ascii=False)
    return hashlib.sha256(b"\0" + text.encode()).digest()


def element(value: Any) -> Any:
    """A column's value as a leaf has it."""
    if isinstance(value, UUID):
        return str(value)
    if hasattr(value, "isoformat"):
        text: str = value.isoformat()
        return text.rstrip("0") if "." in text else text
    return value


def test_the_fields_alone_and_the_commitment_give_the_leaf(conn: Connection) -> None:
    """As docs/sealing.md has it, for every leaf that an erasure names."""
    _, made = full_task(conn)
    seal(conn)
    for each in made:
        erase(conn, each)
    named = {leaf[0]: leaf[1:] for each in erasures(conn) for leaf in each["payload"]["leaves"]}
    leaves = rows(conn, f"SELECT * FROM {LEAVES} WHERE leaf_index < 10 ORDER BY leaf_index")
    assert sorted(named) == [leaf["leaf_index"] for leaf in leaves] == list(range(10))
    tables = {
        "result": (AUDIT, "workflow_step_result_audit_uuid"),
        "change": (CHANGES, "step_audit_change_uuid"),
        "event": (EVENTS, "step_audit_event_uuid"),
    }
    columns = {
        "result": "workflow_step_result_audit_uuid workflow_step_uuid "
        "workflow_step_transition_uuid task_uuid recorded_at worker_uuid correlation_id success "
        "backfilled execution_time_ms created_at updated_at recorded_xid",
        "change": "step_audit_change_uuid operation workflow_step_transition_uuid "
        "workflow_step_uuid from_state to_state sort_key transition_created_at recorded_at "
        "recorded_xid",
        "event": "step_audit_event_uuid kind task_uuid workflow_step_uuid "
        "workflow_step_transition_uuid recorded_at recorded_xid",
    }
    successors = 0
    for leaf in leaves:
        commitment, successor, recorded_by = named[leaf["leaf_index"]]
        kind = leaf["kind"]
        table, key = tables[kind]
        (row,) = rows(conn, f"SELECT * FROM {table} WHERE {key} = %s", leaf["record_uuid"])
        assert recorded_by == row["recorded_by"]
        elements = ["step-audit 2", kind, leaf["leaf_index"]]
        elements += [element(row[column]) for column in columns[kind].split()]
        if kind == "result":
            (stood,) = rows(
                conn,
                "SELECT workflow_step_uuid, from_state, to_state, created_at FROM "
                f"{SCHEMA}.list_step_audit_versions(%s) LIMIT 1",
                row["workflow_step_transition_uuid"],
            )
            elements += [element(value) for value in stood.values()]
        if kind == "change":
            elements.append(successor)
            successors += successor is not None
        else:
            assert successor is None
        assert hash_of([*elements, commitment]) == leaf["leaf_hash"], leaf
    assert successors == 2


def test_by_correlation_id_and_by_record(conn: Connection) -> None:
    correlation_id = uuid4()
    named = [
        record(conn, PLAIN | {"correlation_id": str(correlation_id)}, create_steps(conn)[0])
        for _ in range(2)
    ]
    of_task = record(conn)
    run(
        conn,
        f"UPDATE {HOST.tasks} SET correlation_id = %s WHERE task_uuid = %s",
        correlation_id,
        of_task.step.task_uuid,
    )
    single, other = record(conn), record(conn)
    seal(conn)
    succeed("erase", "--correlation-id", str(correlation_id), *REASON, to=conn)
    left = [metadata_of(conn, each) is None for each in (*named, of_task, single, other)]
    assert left == [True, True, True, False, False]
    succeed("erase", "--record", str(audit_uuid(conn, single)), *REASON, to=conn)
    assert metadata_of(conn, single) is None
    assert metadata_of(conn, other) is not None


def test_a_dry_run_writes_nothing(conn: Connection) -> None:
    result = record(conn)
    seal(conn)
    command = ("erase", "--task", str(result.step.task_uuid), "--reason", "request 62")
    before = holders_of(conn, MARKER)
    said = succeed(*command, "--dry-run", to=conn)
    assert f"1 row of {HOST.transitions}: metadata" in said
    for each in ("vacuumed", "backups, replicas and subscribers", "workflow_steps.results"):
        assert each in said
    assert "erased" not in said.replace("erased already", "")
    assert holders_of(conn, MARKER) == before != set()
    assert erasures(conn) == []


def test_it_asks_first(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    result = record(conn)
    seal(conn)
    command = ("erase", "--task", str(result.step.task_uuid), "--reason", "request 62")
    with started(*command, "--dsn", dsn_of(conn)) as process:
        out, err = process.communicate("n\n", timeout=30)
    assert process.returncode != 0
    assert "for good?" in out
    assert "aborted" in err
    assert erasures(conn) == []
    with started(*command, "--dsn", dsn_of(conn)) as process:
        out, _ = process.communicate("y\n", timeout=30)
    assert "erased 1 transition\n" in out
    assert metadata_of(conn, result) is None


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "Give one of --task, --correlation-id and --record"),
        (("--task", str(uuid4()), "--record", str(uuid4())), 2, "what is to be erased is not"),
        (("--task", str(uuid4())), 3, "there is no record of task"),
    ],
)
def test_what_is_not_there_or_not_clear_is_said(
    conn: Connection, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = step_audit("erase", *arguments, *REASON, to=conn)
    assert (done.code, message in done.err) == (code, True), done
    assert "nothing was erased" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"p_reason": " "}, "no reason is given"),
        ({"p_reason": "x" * 2001}, "2,000 characters"),
        ({"p_transition_uuid": uuid4()}, "has no record"),
    ],
)
def test_what_cannot_be_erased_is_refused(
    conn: Connection, arguments: dict[str, Any], message: str
) -> None:
    result = record(conn)
    seal(conn)
    given = {"p_transition_uuid": result.transition_uuid, "p_reason": "request 62"} | arguments
    with pytest.raises(psycopg.Error, match=message):
        call(conn, SCHEMA, "erase_step_audit_transition", **given)
    assert erasures(conn) == []


@pytest.mark.parametrize("what", ["result", "change", "action", "attribution"])
def test_what_is_not_wholly_sealed_is_refused(conn: Connection, what: str) -> None:
    (step,) = create_steps(conn)
    result = record(conn, PLAIN, step)
    action = Transition(step, "cancelled", json.dumps({"event": {"reason": MARKER}}), 2, "pending")
    if what != "result":
        seal(conn)
    if what == "change":
        rewrite(conn, result, {"event": None})
    if what in ("action", "attribution"):
        insert_each(conn, [action])
    if what == "attribution":
        seal(conn)
        attribute(conn, action)
    wanted = result if what in ("result", "change") else action
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="are not sealed") as refused:
        erase(conn, wanted)
    assert "step-audit seal" in (refused.value.diag.message_hint or "")
    assert erasures(conn) == []
    seal(conn)
    assert erase(conn, wanted) > 0


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE {HOST.transitions} SET metadata = '{{}}' WHERE sort_key = 1",
        f"UPDATE {CHANGES} SET metadata = '{{}}'",
        f"UPDATE {CHANGES} SET recorded_by = 'me'",
        f"UPDATE {AUDIT} SET success = NOT success",
        f"DELETE FROM {CHANGES}",
        f"DELETE FROM {SALTS}",
    ],
)
def test_what_was_altered_is_refused(conn: Connection, statement: str) -> None:
    result = record(conn)
    rewrite(conn, result, {"event": None})
    seal(conn)
    table = statement.split()[1 if statement.startswith("UPDATE") else 2]
    behind_our_back(conn, table, statement)
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="not as it was sealed"):
        erase(conn, result)
    assert erasures(conn) == []


def test_what_came_back_behind_our_back_is_refused(conn: Connection) -> None:
    result = record(conn)
    seal(conn)
    erase(conn, result)
    behind_our_back(conn, HOST.transitions, f"UPDATE {HOST.transitions} SET metadata = '[1]'")
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="not as it was sealed"):
        erase(conn, result)


@pytest.mark.parametrize("by", ["task", "correlation id", "task, deleted"])
def test_what_is_held_is_refused_until_it_is_released(conn: Connection, by: str) -> None:
    correlation_id = uuid4()
    result = record(conn, PLAIN | {"correlation_id": str(correlation_id)})
    if by == "task, deleted":
        delete(conn, result)
    payload = {"reason": "a trial", "operator": "bob"}
    task: UUID | None = result.step.task_uuid
    if by == "correlation id":
        payload, task = payload | {"correlation_id": str(correlation_id)}, None
    (hold,) = rows(
        conn,
        f"INSERT INTO {EVENTS} (kind, task_uuid, payload) VALUES ('hold', %s, %s) "
        "RETURNING step_audit_event_uuid AS key",
        task,
        json.dumps(payload),
    )
    seal(conn)
    command = ("erase", "--task", str(result.step.task_uuid), *REASON)
    done = step_audit(*command, to=conn)
    assert (done.code, "is held" in done.err) == (1, True), done
    assert erasures(conn) == []
    run(
        conn,
        f"INSERT INTO {EVENTS} (kind, task_uuid, payload) VALUES ('release', %s, %s)",
        task,
        json.dumps({"hold": str(hold["key"]), "reason": "it is over", "operator": "bob"}),
    )
    succeed(*command, to=conn)
    assert holders_of(conn, MARKER) == set()


def test_a_hold_and_an_erasure_exclude_each_other(conn: Connection) -> None:
    result = record(conn)
    seal(conn)
    with connect_again(conn) as holder, holder.transaction():
        call(holder, SCHEMA, "lock_step_audit_retention", p_shared=True)
        with pytest.raises(errors.LockNotAvailable):
            erase(conn, result)
    assert erase(conn, result) == 1


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


@pytest.fixture
def eraser(conn: Connection) -> Iterator[Connection]:
    """A connection of a role that may erase, and nothing else."""
    with login_roles(conn, "eraser"):
        succeed("grant", "eraser", "--as", "eraser", to=conn)
        with connect_again(conn, user="eraser") as other:
            yield other


def test_an_eraser_needs_no_other_right(conn: Connection, eraser: Connection) -> None:
    step, _ = full_task(conn)
    single = record(conn)
    seal(conn)
    for table in (AUDIT, EVENTS, CHANGES, SALTS, HOST.transitions):
        with pytest.raises(errors.InsufficientPrivilege):
            eraser.execute(f"SELECT FROM {table}".encode())
    succeed(
        *("erase", "--record", str(audit_uuid(conn, single)), *REASON),
        *("--dsn", dsn_of(conn, user="eraser")),
    )
    eraser.execute(
        f"CALL {SCHEMA}.erase_step_result_audit(p_task_uuid => %s, p_reason => 'x')".encode(),
        (step.task_uuid,),
        prepare=False,
    )
    assert holders_of(conn, MARKER) == set()
    assert {each["recorded_by"] for each in erasures(conn)} == {"eraser"}


def test_without_the_right_nobody_erases(conn: Connection) -> None:
    result = record(conn)
    seal(conn)
    with login_roles(conn, "eraser"):
        run(conn, f"GRANT USAGE ON SCHEMA {SCHEMA} TO eraser")
        done = step_audit(
            *("erase", "--record", str(audit_uuid(conn, result)), *REASON),
            *("--dsn", dsn_of(conn, user="eraser")),
        )
        assert (done.code, "permission denied" in done.err) == (3, True)
        with (
            connect_again(conn, user="eraser") as other,
            pytest.raises(errors.InsufficientPrivilege),
        ):
            erase(other, result)
    assert erasures(conn) == []


def procedure(conn: Connection, **arguments: Any) -> list[str]:
    """Call the procedure; gives what it says."""
    said: list[str] = []
    with connect_again(conn) as other:
        other.add_notice_handler(lambda told: said.append(told.message_primary or ""))
        named = ", ".join(f"{name} => %({name})s" for name in arguments)
        try:
            other.execute(
                f"CALL {SCHEMA}.erase_step_result_audit({named})".encode(), arguments, prepare=False
            )
        except psycopg.Error as error:
            said.append(error.diag.message_primary or "")
    return said


def test_the_procedure_erases_the_same(conn: Connection) -> None:
    step, _ = full_task(conn)
    seal(conn)
    given = {"p_task_uuid": step.task_uuid, "p_reason": "request 62", "p_operator": "ann"}
    said = procedure(conn, **given)
    assert said == ["erasure complete: 5 transitions erased, 0 were erased before"]
    assert holders_of(conn, MARKER) == set()
    assert {each["payload"]["operator"] for each in erasures(conn)} == {"ann"}
    said = procedure(conn, **given)
    assert said == ["erasure complete: 0 transitions erased, 5 were erased before"]
    assert procedure(conn, p_audit_uuid=uuid4(), p_reason="x")[0].startswith("no record is of what")
    (clear,) = procedure(conn, p_reason="x")
    assert clear.startswith("what is to be erased is not clear")


@pytest.mark.parametrize("by", ["command", "procedure"])
def test_one_that_is_refused_does_not_stop_the_others(conn: Connection, by: str) -> None:
    steps = create_steps(conn, 2)
    made = [record(conn, PLAIN, steps[number % 2], number) for number in range(4)]
    seal(conn)
    rewrite(conn, made[1], {"event": {"more": MARKER}})
    task = steps[0].task_uuid
    if by == "command":
        done = step_audit("erase", "--task", str(task), *REASON, to=conn)
        assert done.code == 1
        assert "erased 3 transitions" in done.out
        assert done.err.count("refused: ") == 1
        assert str(made[1].transition_uuid) in done.err
    else:
        refused, summary, failed = procedure(conn, p_task_uuid=task, p_reason="x")
        assert str(made[1].transition_uuid) in refused
        assert "3 transitions erased" in summary
        assert failed.startswith("1 transitions were refused")
    assert [metadata_of(conn, each) is None for each in made] == [True, False, True, True]
