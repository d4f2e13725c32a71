"""What is erased is nowhere in our tables, and the log still says that it was sealed."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import errors

from step_audit.database import Connection, call
from tests.lifecycle.test_changes import changes, engine, run  # noqa: F401 (a fixture)
from tests.lifecycle.test_operator_actions import EVENTS
from tests.lifecycle.test_sealed_changes import CHANGES, seal
from tests.support.command import succeed
from tests.support.connect import connect_again, dsn_of
from tests.support.host import (
    HOST,
    OK,
    Step,
    Transition,
    create_steps,
    insert_each,
)
from tests.support.stopping import started

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


def test_a_hold_and_an_erasure_exclude_each_other(conn: Connection) -> None:
    result = record(conn)
    seal(conn)
    with connect_again(conn) as holder, holder.transaction():
        call(holder, SCHEMA, "lock_step_audit_retention", p_shared=True)
        with pytest.raises(errors.LockNotAvailable):
            erase(conn, result)
    assert erase(conn, result) == 1
