"""Records that are sealed late: nothing is said of them, and none of them can be taken away."""

from __future__ import annotations

import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from uuid import UUID

import pytest

from step_audit.database import Connection
from step_audit.errors import NotProvedError
from step_audit.trust.checkpoint import sign_checkpoint
from step_audit.trust.signing import read_head
from step_audit.trust.verify import open_signed, verify_dump
from step_audit.trust.verify.seals import Seal, Seals
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


U = "0199f3a2-0000-7000-8000-000000000001"


@pytest.mark.parametrize("waiting", ["{NULL}", f"[0:1]={{{U},{U}}}", f"{{{{{U}}},{{{U}}}}}"])
def test_a_seal_of_what_no_seal_writes_is_named_and_not_signed(
    world: World, tmp_path: Path, waiting: str
) -> None:
    """As uuid[] it may be; a checkpoint that signed it would spoil all later verifications."""
    seal(world.conn)
    before = world.sign()
    change(world, "UPDATE step_audit_seals SET waiting = %s", waiting)
    with pytest.raises(NotProvedError, match=r"the seal of 9 leaves in schema .* was altered"):
        world.sign()
    head = read_head(world.conn, HOST.audit_schema, world.key.name)
    altered = [Found("altered log", field="seal of 9 leaves")]
    for number, note in enumerate((before, sign_checkpoint(head, world.key.to_text()))):
        assert world.verify(note) == altered
        assert found_in_dump(world, note, tmp_path / f"dump {number}") == altered


def test_since_when_a_row_waits_is_told_by_the_seals_one_after_the_other() -> None:
    def at(hour: int, *waiting: str) -> Seal:
        return Seal(hour, datetime(2026, 11, 22, hour), None, None, frozenset(waiting))

    seals = Seals((at(1, "a", "b", "c"), at(2, "b", "c"), at(3, "a", "b"), at(4, "a", "b", "d")))
    since = {uuid: seals.waiting_since(uuid) for uuid in "abcd"}
    assert {uuid: first and first.hour for uuid, first in since.items()} == {
        "a": 3,
        "b": 1,
        "c": None,
        "d": 4,
    }


def test_many_rows_that_wait_through_many_seals_take_no_time() -> None:
    rows = frozenset(str(UUID(int=number)) for number in range(20_000))
    seals = Seals(tuple(Seal(n, datetime(2026, 11, 22), None, None, rows) for n in range(50)))
    began = time.monotonic()
    assert all(seals.waiting_since(row) and row in seals.seals[-1].waiting for row in rows)
    assert time.monotonic() - began < 10
