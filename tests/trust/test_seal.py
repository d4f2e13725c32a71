"""Laws of seals: each record once, none left out, and the log is what Python computes too."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import IsolationLevel, errors
from psycopg.types.string import TextLoader

from step_audit.database import Connection, call
from step_audit.trust.leaf import AUDIT_COLUMNS, Leaf, Opening
from step_audit.trust.merkle import leaf_hash, root_from_inclusion_path, tree_root
from step_audit.trust.verify import verify
from tests.faults.test_backfill_concurrency import wait_until
from tests.support.audit import play
from tests.support.connect import connect_again
from tests.support.host import (
    HOST,
    OK,
    Transition,
    create_steps,
    drop_constraints,
    insert_each,
    insert_together,
)
from tests.support.strategies import histories
from tests.trust.conftest import Worlds
from tests.trust.world import Meeting, World, assert_all_sealed, seal


def python_leaves(conn: Connection) -> list[Leaf]:
    """The log's leaves by the second implementation, from the tables' raw columns."""
    with conn.transaction(), conn.cursor() as cursor:
        cursor.execute("SET LOCAL datestyle = ISO")
        for kind in ("timestamp", "uuid", "jsonb"):
            cursor.adapters.register_loader(kind, TextLoader)
        rows = cursor.execute(
            """
            SELECT l.kind, l.leaf_index, s.salt, a.*, t.workflow_step_uuid AS t_step, t.from_state,
                t.to_state, t.created_at AS t_created_at, t.metadata
            FROM step_audit_leaves AS l
            JOIN step_audit_salts AS s USING (leaf_index)
            JOIN tasker_workflow_step_result_audit AS a
                ON l.record_uuid = a.workflow_step_result_audit_uuid
            JOIN tasker_workflow_step_transitions AS t USING (workflow_step_transition_uuid)
            ORDER BY l.leaf_index
            """
        ).fetchall()
    return [_leaf(row) for row in rows]


def _leaf(row: dict[str, Any]) -> Leaf:
    audit = {column.name: row[column.name] for column in AUDIT_COLUMNS}
    for name in ("recorded_at", "created_at", "updated_at"):
        audit[name] = _iso(audit[name])
    transition = {
        "workflow_step_uuid": row["t_step"],
        "from_state": row["from_state"],
        "to_state": row["to_state"],
        "created_at": _iso(row["t_created_at"]),
    }
    opening = Opening(row["salt"], row["recorded_by"], row["metadata"])
    return Leaf(row["kind"], row["leaf_index"], audit, transition, opening.commitment())


def _iso(text: str) -> str:
    return text.replace(" ", "T", 1)


def assert_log_is_pythons(conn: Connection) -> None:
    """Texts and hashes of results, root and head of the log, computed twice."""
    leaves = {leaf.index: leaf for leaf in python_leaves(conn)}
    sealed = call(conn, HOST.audit_schema, "list_step_audit_leaves", p_first=0, p_until=2**40)
    for row in sealed:
        leaf = leaves.pop(row["leaf_index"], None)
        assert row["leaf"] == (leaf and leaf.to_text())
        assert leaf is None or row["leaf_hash"] == leaf_hash(leaf.to_bytes())
    assert leaves == {}
    (head,) = call(conn, HOST.audit_schema, "get_step_audit_tree_head")
    hashes = [row["leaf_hash"] for row in sealed]
    assert head == {"tree_size": len(hashes), "root_hash": tree_root(hashes)}


def test_each_record_is_sealed_once_whatever_the_history(conn: Connection) -> None:
    steps = create_steps(conn, 3)

    @settings(max_examples=40)
    @given(st.data())
    def law(data: st.DataObject) -> None:
        with conn.transaction(force_rollback=True):
            numbers = iter(range(0, 10_000, 100))
            for _ in range(data.draw(st.integers(1, 4))):
                history = data.draw(histories(steps))
                start = next(numbers)
                for write in history:
                    write.transitions[:] = [_moved(each, start) for each in write.transitions]
                play(conn, history)
                call(
                    conn,
                    HOST.audit_schema,
                    "seal_step_result_audit",
                    p_limit=data.draw(st.integers(1, 6)),
                )
            seal(conn, data.draw(st.integers(1, 5)))
            assert_all_sealed(conn)
            assert_log_is_pythons(conn)

    law()


def _moved(transition: Transition, by: int) -> Transition:
    return Transition(
        transition.step,
        transition.to_state,
        transition.metadata,
        transition.sort_key + by,
        transition.from_state,
    )


# What four transactions do, in any order: write, seal, commit or roll back.
ACTIONS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["write", "write", "seal", "commit", "rollback"])),
    min_size=5,
    max_size=25,
)


def test_no_interleaving_of_transactions_leaves_a_record_out(conn: Connection) -> None:
    steps = create_steps(conn, 4)
    numbers = iter(range(10**9))
    connections = [connect_again(conn) for _ in range(4)]
    for each in connections:
        each.execute("SET lock_timeout = '1ms'")

    @settings(max_examples=40)
    @given(ACTIONS)
    def law(actions: list[tuple[int, str]]) -> None:
        for who, action in actions:
            one = connections[who]
            if one.info.transaction_status is psycopg.pq.TransactionStatus.IDLE:
                one.execute("BEGIN")
            if action == "write":
                insert_each(one, [Transition(steps[who], OK, "{}", next(numbers))])
            elif action == "seal":
                # Another transaction that is open may have sealed: then this one has to wait.
                one.execute("SAVEPOINT here")
                try:
                    call(one, HOST.audit_schema, "seal_step_result_audit", p_limit=2)
                except errors.LockNotAvailable:
                    one.execute("ROLLBACK TO here")
            else:
                one.execute(action.encode())
        for one in connections:
            one.commit()
        seal(conn)
        assert_all_sealed(conn)
        assert verify(conn, HOST.audit_schema).findings == ()

    try:
        law()
        assert_log_is_pythons(conn)
    finally:
        for each in connections:
            each.close()


def test_a_transaction_that_writes_before_and_after_its_own_seal_is_sealed_whole(
    conn: Connection,
) -> None:
    steps = create_steps(conn)
    with conn.transaction():
        insert_each(conn, [Transition(steps[0], OK, "{}", 1)])
        seal(conn)
        insert_each(conn, [Transition(steps[0], OK, "{}", 2)])
        seal(conn)
        insert_each(conn, [Transition(steps[0], OK, "{}", 3)])
    with conn.transaction():
        seal(conn)
        insert_each(conn, [Transition(steps[0], OK, "{}", 4)])
    seal(conn)
    assert_all_sealed(conn)
    assert len(python_leaves(conn)) == 4


def test_a_long_transaction_is_sealed_after_a_newer_one(conn: Connection) -> None:
    steps = create_steps(conn)
    with connect_again(conn) as late:
        with late.transaction():
            insert_each(late, [Transition(steps[0], OK, "{}", 1)])
            insert_each(conn, [Transition(steps[0], OK, "{}", 2)])
            assert seal(conn) == 1
            assert seal(conn) == 0
        assert seal(conn) == 1
    assert_all_sealed(conn)
    keys = [leaf.audit["recorded_xid"] for leaf in python_leaves(conn)]
    assert keys[1] < keys[0]  # type: ignore[operator]


# As text, since no Python date goes so far.
TIMES = ["infinity", "-infinity", "0044-03-15 12:00:00 BC", "12026-11-22 10:00:00.000001"]


@pytest.mark.parametrize("time", TIMES)
def test_times_that_python_has_not_are_sealed(conn: Connection, time: str) -> None:
    steps = create_steps(conn)
    for number, text in enumerate((time, "2026-11-22 10:00:00.120000", "2026-11-22 10:00:00")):
        conn.execute(
            "INSERT INTO tasker_workflow_step_transitions "
            "(workflow_step_uuid, to_state, sort_key, most_recent, created_at) "
            "VALUES (%s, %s, %s, FALSE, %s)",
            (steps[0].step_uuid, OK, number, text),
        )
    seal(conn)
    assert_log_is_pythons(conn)


def test_strings_of_every_kind_are_sealed_alike(conn: Connection) -> None:
    (step,) = create_steps(conn)
    drop_constraints(conn, "c")
    states = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=99)

    @settings(max_examples=60)
    @given(states)
    def law(from_state: str) -> None:
        with conn.transaction(force_rollback=True):
            metadata = json.dumps({from_state: [from_state, 1.10, 1e300]})
            insert_each(conn, [Transition(step, OK, metadata, 1, from_state)])
            seal(conn)
            assert_log_is_pythons(conn)

    law()


@pytest.mark.parametrize("circumstance", ["plain", "restored_15", "restored_18", "writers"])
def test_the_log_of_a_world_is_pythons(worlds: Worlds, circumstance: str) -> None:
    assert_log_is_pythons(worlds(circumstance).conn)


@pytest.fixture
def world(worlds: Worlds) -> World:
    return worlds("plain")


def test_each_size_of_the_log_has_pythons_root(world: World) -> None:
    hashes = [leaf_hash(leaf.to_bytes()) for leaf in python_leaves(world.conn)]
    sizes = [*range(0, 20), 127, 128, 129, *range(254, 260), *range(510, 515), len(hashes)]
    for size in sizes:
        (head,) = call(world.conn, HOST.audit_schema, "get_step_audit_tree_head", p_tree_size=size)
        assert head["root_hash"] == tree_root(hashes[:size]), size
    assert (
        call(world.conn, HOST.audit_schema, "get_step_audit_tree_head", p_tree_size=len(hashes) + 1)
        == []
    )
    assert call(world.conn, HOST.audit_schema, "get_step_audit_tree_head", p_tree_size=-1) == []


@pytest.mark.parametrize("size", [1, 2, 3, 255, 256, 257, 300, 512, 513, None])
def test_each_record_is_proved_in_each_size(world: World, size: int | None) -> None:
    leaves = python_leaves(world.conn)
    size = size or len(leaves)
    hashes = [leaf_hash(leaf.to_bytes()) for leaf in leaves[:size]]
    root = tree_root(hashes)
    # All of a small log, and some of a large one, among them those at its edges.
    for leaf in leaves[: size : 1 if size < 10 else 7] + leaves[size - 2 : size]:
        (proof,) = call(
            world.conn,
            HOST.audit_schema,
            "get_step_audit_proof",
            p_audit_uuid=UUID(str(leaf.audit["workflow_step_result_audit_uuid"])),
            p_tree_size=size,
        )
        assert (proof["leaf_index"], proof["leaf"]) == (leaf.index, leaf.to_text())
        path = root_from_inclusion_path(leaf.index, size, hashes[leaf.index], proof["path"])
        assert path == root


def test_what_is_not_in_the_log_is_not_proved(world: World) -> None:
    conn, size = world.conn, world.size
    for record, at in (
        (world.unsealed[0], size),
        (world.sealed[5], 5),
        (world.sealed[5], size + 9),
    ):
        assert not call(
            conn,
            HOST.audit_schema,
            "get_step_audit_proof",
            p_audit_uuid=record.audit,
            p_tree_size=at,
        )


@pytest.mark.parametrize("level", [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE])
def test_a_seal_is_refused_outside_read_committed(conn: Connection, level: IsolationLevel) -> None:
    with connect_again(conn) as other:
        other.isolation_level = level
        with pytest.raises(errors.InvalidTransactionState) as refused, other.transaction():
            seal(other)
    name = level.name.replace("_", " ")
    assert refused.value.diag.message_primary == (
        f"a seal needs READ COMMITTED, this transaction is {name}"
    )
    assert refused.value.diag.message_hint == (
        "Call it in a transaction of its own: BEGIN ISOLATION LEVEL READ COMMITTED."
    )


def test_a_second_seal_waits_for_the_first_and_goes_on_behind_it(conn: Connection) -> None:
    (step,) = create_steps(conn)
    insert_each(conn, [Transition(step, OK, "{}", 1)])
    with ThreadPoolExecutor(1) as pool, connect_again(conn) as other:
        with conn.transaction():
            assert seal(conn) == 1
            second = pool.submit(seal, other)
            with connect_again(conn) as watcher:
                wait_until(lambda: _waits(watcher))
        assert second.result() == 0
    assert_all_sealed(conn)


def _waits(conn: Connection) -> bool:
    return bool(
        conn.execute(
            "SELECT FROM pg_locks WHERE NOT granted AND relation = 'step_audit_seals'::regclass"
        ).rowcount
    )


@pytest.mark.parametrize("limit", [0, -1, None])
def test_a_limit_below_one_is_refused(conn: Connection, limit: int | None) -> None:
    with pytest.raises(errors.InvalidParameterValue) as refused:
        call(conn, HOST.audit_schema, "seal_step_result_audit", p_limit=limit)
    said = refused.value.diag.message_primary
    assert said == f"the limit must be at least 1, not {'NULL' if limit is None else limit}"


def test_a_limit_is_kept_and_said(conn: Connection) -> None:
    (step,) = create_steps(conn)
    assert _seal_some(conn, 3) == (0, 0, True)
    insert_together(conn, [Transition(step, OK, "{}", number) for number in range(7)])
    assert _seal_some(conn, 3) == (3, 3, False)
    assert _seal_some(conn, 4) == (4, 7, False)
    assert _seal_some(conn, 4) == (0, 7, True)


def _seal_some(conn: Connection, limit: int) -> tuple[int, int, bool]:
    (done,) = call(conn, HOST.audit_schema, "seal_step_result_audit", p_limit=limit)
    return done["sealed"], done["tree_size"], done["complete"]


def test_no_writer_waits_for_an_open_seal(conn: Connection) -> None:
    (step,) = create_steps(conn)
    insert_each(conn, [Transition(step, OK, "{}", 1)])
    with connect_again(conn) as writer:
        writer.execute("SET lock_timeout = '1ms'")
        with conn.transaction():
            assert seal(conn) == 1
            insert_each(writer, [Transition(step, OK, "{}", 2)])
            writer.execute("UPDATE tasker_workflow_step_transitions SET most_recent = FALSE")
    assert seal(conn) == 1
    assert_all_sealed(conn)


def test_a_seal_of_nothing_writes_nothing(conn: Connection) -> None:
    seal(conn)
    assert conn.execute("SELECT FROM step_audit_seals").rowcount == 0
    (step,) = create_steps(conn)
    insert_each(conn, [Transition(step, OK, "{}", 1)])
    seal(conn)
    seal(conn)
    assert conn.execute("SELECT FROM step_audit_seals").rowcount == 1


def test_a_forged_record_of_an_old_transaction_is_never_sealed_and_always_named(
    conn: Connection,
) -> None:
    (step,) = create_steps(conn)
    for number in range(3):
        insert_each(conn, [Transition(step, OK, "{}", number)])
        seal(conn)
    insert_each(conn, [Transition(step, "pending", "{}", 9)])
    conn.execute(
        "INSERT INTO tasker_workflow_step_result_audit (workflow_step_uuid, task_uuid, "
        "workflow_step_transition_uuid, success, recorded_xid) "
        "SELECT %s, %s, workflow_step_transition_uuid, TRUE, 800 "
        "FROM tasker_workflow_step_transitions WHERE sort_key = 9",
        (step.step_uuid, step.task_uuid),
    )
    for number in range(10, 13):
        insert_each(conn, [Transition(step, OK, "{}", number)])
        assert seal(conn) == 1
        found = verify(conn, HOST.audit_schema).findings
        assert {(each.finding, each.field) for each in found} == {
            ("inserted record", "transaction 800"),
            ("extra", None),
        }


def test_many_sealers_and_writers_at_once_lose_and_double_nothing(conn: Connection) -> None:
    steps = create_steps(conn, 3)
    start = Meeting(5)

    def write(writer: int) -> None:
        with connect_again(conn) as mine:
            start.wait()
            for number in range(60):
                with mine.transaction(force_rollback=number % 5 == 4):
                    insert_each(mine, [Transition(steps[writer], OK, "{}", number)])

    def run() -> None:
        with connect_again(conn) as mine:
            start.wait()
            for _ in range(40):
                call(mine, HOST.audit_schema, "seal_step_result_audit", p_limit=3)

    with ThreadPoolExecutor(5) as pool:
        done = [*(pool.submit(write, n) for n in range(3)), *(pool.submit(run) for _ in range(2))]
        for each in done:
            each.result()
    seal(conn)
    assert_all_sealed(conn)
    assert len(python_leaves(conn)) == 3 * 48
    assert_log_is_pythons(conn)


def test_leaves_are_the_same_text_on_all_majors(worlds: Worlds) -> None:
    """Those from before the restore were sealed on the server under test."""
    for major in (15, 16, 17, 18):
        world = worlds(f"restored_{major}")
        assert f"{world.conn.info.server_version}".startswith(str(major))
        rows = call(
            world.conn,
            HOST.audit_schema,
            "list_step_audit_leaves",
            p_first=0,
            p_until=world.older_size,
        )
        assert len(rows) > 256
        for row in rows:
            assert leaf_hash(row["leaf"].encode()) == row["leaf_hash"]
