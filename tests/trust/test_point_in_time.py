"""A server recovered to a point in time: the log goes on, and what came after is named as lost."""

from __future__ import annotations

from pathlib import Path

from step_audit.demo.embedded import EmbeddedServer
from tests.support import replication
from tests.support.connect import connect, connect_again
from tests.trust.rows import ATTACKS, assert_found
from tests.trust.test_failover import SOME
from tests.trust.world import World, grow_to_newer, grow_to_older, seal, start_world

POINTS = ("within_a_seal", "before_the_last_seal")


def set_point(world: World, name: str) -> None:
    with connect_again(world.conn) as other:
        other.execute("SELECT pg_create_restore_point(%s)", (name,))


def write_history(primary: EmbeddedServer, folder: Path) -> tuple[World, dict[str, EmbeddedServer]]:
    """A world whose newer checkpoint signs what no point has, and a copy of before per point."""
    world = start_world(connect(primary.dsn()))
    grow_to_older(world)
    copies = {point: replication.back_up(primary, folder / point) for point in POINTS}
    world.history.record(world.conn, 40)
    with world.conn.transaction():
        assert seal(world.conn) == 40
        set_point(world, POINTS[0])
    world.history.record(world.conn, 30)
    set_point(world, POINTS[1])
    assert seal(world.conn) == 30
    world.newer = world.sign()
    world.history.record(world.conn, 3)
    replication.finish_archive(primary)
    world.conn.close()
    return world, copies


def test_a_log_that_was_recovered_to_a_point_in_time_goes_on(server_folder: Path) -> None:
    folder = server_folder / "points"
    folder.mkdir(mode=0o755)
    archive = folder / "archive"
    primary = replication.start_primary(folder / "primary", **replication.archive_wal(archive))
    servers = [primary]
    try:
        world, copies = write_history(primary, folder)
        servers += copies.values()
        lost = world.newer
        for (point, copy), (sealed, left) in zip(copies.items(), ((0, 40), (40, 30)), strict=True):
            replication.recover(copy, archive, point)
            with connect(copy.dsn()) as conn:
                went_on(World(conn, world.history, world.key, world.older), lost, sealed, left)
            copy.stop("immediate")
    finally:
        for server in servers:
            server.remove()


def went_on(world: World, lost: str, sealed: int, left: int) -> None:
    """So many were sealed since the older checkpoint, and so many are left to be."""
    assert world.verify(world.older) == []
    (found,) = world.verify(lost)
    assert found.finding == "lost by failover"
    assert str(found.field).startswith(f"at least {70 - sealed} records, timeline 1 to 2 of system")
    assert seal(world.conn) == left
    assert world.verify(world.older) == []
    grow_to_newer(world)
    world.finish()
    assert world.verify(world.newer, world.older) == []
    assert [each.finding for each in world.verify(lost)] == ["lost by failover"]
    for name in SOME:
        assert_found(world, ATTACKS[name])
