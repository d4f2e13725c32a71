"""What a failover has lost is named so, and no crime; on a standby one verifies as on a primary."""

from __future__ import annotations

import pytest

from step_audit.errors import RefusedError
from step_audit.trust.verify import open_signed, verify
from tests.support import replication
from tests.support.connect import connect
from tests.support.host import HOST
from tests.trust.circumstances import Workshop
from tests.trust.rows import ATTACKS, assert_found
from tests.trust.world import AUDITOR, grow_to_newer, grow_to_older, seal, start_world

SOME = (
    "none",
    "another_seal",
    "edit_result_and_row",
    "delete_log",
    "rewrite_whole_log",
    "seal_behind_the_signed_seal",
    "seal_behind_a_later_seal",
    "edit_waiting_of_seal",
)
"""Rows of the matrix that depend on seals, transaction ids and roots."""


def test_a_standby_is_verified_and_what_a_failover_loses_is_named_so(workshop: Workshop) -> None:
    primary, follow = workshop.pair()
    world = start_world(connect(primary.dsn()))
    standby = follow()
    grow_to_older(world)
    grow_to_newer(world)
    world.newer = world.sign()
    replication.wait_until(lambda: replication.has_caught_up(standby, primary), "caught up")
    key = world.key.verifier.to_text()
    with (
        connect(standby.dsn()) as conn,
        pytest.raises(RefusedError, match=r"tables_owner, who owns .* may become postgres"),
    ):
        verify(conn, HOST.audit_schema)
    with connect(standby.dsn(), user=AUDITOR) as conn:
        report = verify(conn, HOST.audit_schema, signed=open_signed(world.newer, None, key))
        assert report.findings == ()
        assert report.counts.leaves == world.size

    replication.cut_off(standby)
    world.history.record(world.conn, 7)
    assert seal(world.conn) == 7
    lost = world.sign()
    world.conn.close()
    replication.kill(primary)
    replication.promote(standby)
    world.conn = workshop.closing(connect(standby.dsn()))
    kept = world.newer
    assert world.verify(kept) == []
    (found,) = world.verify(lost)
    assert found.finding == "lost by failover"
    assert found.field is not None
    assert "at least 7 records" in found.field

    # The log goes on, and is another one than was signed.
    world.history.record(world.conn, 9)
    seal(world.conn)
    assert world.verify(kept) == []
    assert [each.finding for each in world.verify(lost)] == ["lost by failover"]


def test_an_old_primary_that_was_rewound_takes_over_again(workshop: Workshop) -> None:
    """It has lost what its standby never had, and goes on with what it was given since."""
    first, follow = workshop.pair()
    world = start_world(connect(first.dsn()))
    second = follow()
    grow_to_older(world)
    replication.wait_until(lambda: replication.has_caught_up(second, first), "caught up")
    replication.cut_off(second)
    world.history.record(world.conn, 7)
    assert seal(world.conn) == 7
    lost = world.sign()
    world.conn.close()
    replication.kill(first)
    replication.promote(second)
    world.conn = connect(second.dsn())
    world.history.record(world.conn, 20)
    assert seal(world.conn) == 20
    between = world.sign()

    replication.rewind(first, second)
    replication.wait_until(lambda: replication.has_caught_up(first, second), "caught up")
    world.conn.close()
    replication.kill(second)
    replication.promote(first)
    world.conn = workshop.closing(connect(first.dsn()))
    assert [world.verify(note) for note in (world.older, between)] == [[], []]
    (found,) = world.verify(lost)
    assert found.finding == "lost by failover"
    assert str(found.field).startswith(f"at most {world.older_size + 7} records, timeline 1 to 3")
    grow_to_newer(world)
    world.finish()
    assert world.verify(world.newer, world.older) == []
    assert [each.finding for each in world.verify(lost)] == ["lost by failover"]
    for name in SOME:
        assert_found(world, ATTACKS[name])
