"""Records that are sealed late: nothing is said of them, and none of them can be taken away."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from uuid import UUID

import pytest

from step_audit.database import Connection
from step_audit.trust.verify import open_signed, verify_dump
from tests.properties.test_verify import write_dump
from tests.support.connect import connect_again
from tests.support.host import HOST, create_steps, disable_own_audit
from tests.trust.attacks import AUDIT, change, deleted
from tests.trust.world import Found, History, World, seal


@pytest.fixture
def world(conn: Connection) -> World:
    disable_own_audit(conn)
    world = World(conn, History(create_steps(conn, 6)))
    world.history.record(conn, 9)
    return world


def found_in_dump(world: World, note: str, folder: Path) -> list[Found]:
    folder.mkdir()
    write_dump(world.conn, folder)
    report = verify_dump(folder, signed=open_signed(note, None, world.public_key))
    return [
        Found(each.finding, each.workflow_step_result_audit_uuid, field=each.field)
        for each in report.findings
    ]


def test_a_prepared_transaction_that_commits_late_is_no_finding(
    world: World, tmp_path: Path
) -> None:
    conn = world.conn
    with connect_again(conn) as other:
        other.execute("BEGIN")
        world.history.record(other, 3)
        other.execute("PREPARE TRANSACTION 'late'")
    notes = []
    # Signed while it is prepared, and once newer ones are sealed.
    for expected in (9, 4):
        assert seal(conn) == expected
        notes.append(world.sign())
        world.history.record(conn, 4)
    assert [world.verify(note) for note in notes] == [[], []]
    conn.execute("COMMIT PREPARED 'late'")
    assert [world.verify(note) for note in notes] == [[], []]
    assert seal(conn) == 7
    notes.append(world.sign())
    assert [world.verify(note) for note in notes] == [[], [], []]
    assert world.verify(notes[2], notes[0]) == []
    assert found_in_dump(world, notes[0], tmp_path / "dump") == []


def take_away(world: World) -> Found:
    """Let the newest result wait for its transition, which is kept beside."""
    (row,) = world.conn.execute(
        "SELECT workflow_step_result_audit_uuid AS audit, workflow_step_transition_uuid AS key "
        f"FROM {AUDIT} ORDER BY recorded_xid DESC, 1 LIMIT 1".encode()
    ).fetchall()
    of_it = f"{HOST.transitions} WHERE workflow_step_transition_uuid = '{row['key']}'"
    world.conn.execute(f"CREATE TABLE taken AS SELECT * FROM {of_it}".encode())
    with world.conn.transaction():
        world.conn.execute("SET LOCAL session_replication_role = replica")
        world.conn.execute(f"DELETE FROM {of_it}".encode())
    return Found("extra", row["audit"], row["key"])


def bring_back(world: World) -> None:
    with world.conn.transaction():
        world.conn.execute("SET LOCAL session_replication_role = replica")
        world.conn.execute(f"INSERT INTO {HOST.transitions} SELECT * FROM taken".encode())


def test_a_record_that_waited_is_sealed_later_and_no_finding(world: World, tmp_path: Path) -> None:
    extra = take_away(world)
    assert seal(world.conn) == 8
    kept = world.sign()
    assert world.verify(kept) == [extra]
    bring_back(world)
    assert world.verify(kept) == []
    assert seal(world.conn) == 1
    assert [world.verify(note) for note in (kept, world.sign())] == [[], []]
    assert found_in_dump(world, kept, tmp_path / "honest") == []
    # From here on it has a leaf, which says that it is gone; it is told once.
    world.newer = world.sign()
    (record,) = (each for each in world.sealed if each.audit == extra.audit)
    remove(world, record.audit)
    missing = Found("missing", transition=record.transition)
    assert Counter(world.verify(kept)) == Counter([deleted(record), missing])


def test_a_record_that_waits_in_a_signed_seal_cannot_be_taken_away(
    world: World, tmp_path: Path
) -> None:
    """Neither transition nor leaf would tell of it."""
    extra = take_away(world)
    assert seal(world.conn) == 8
    kept = world.sign()
    assert world.verify(kept) == [extra]
    assert extra.audit is not None
    remove(world, extra.audit)
    gone = Found("deleted record", extra.audit, field="waiting in the seal of 8 leaves")
    assert world.verify(kept) == [gone]
    assert found_in_dump(world, kept, tmp_path / "dump") == [gone]
    world.history.record(world.conn, 2)
    assert seal(world.conn) == 2
    assert world.verify(kept) == [gone]
    assert world.verify(world.sign(), kept) == [gone]


def remove(world: World, audit: UUID) -> None:
    with world.conn.transaction():
        change(world, f"DELETE FROM {AUDIT} WHERE workflow_step_result_audit_uuid = %s", audit)
