"""An audit table that was made anew under a signed log is named until somebody signs by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from psycopg import sql

from step_audit.database import Connection
from step_audit.trust.note import SignerKey
from tests.support.command import pg_dump, run, succeed
from tests.support.connect import connect_again, dsn_of
from tests.support.keys import write_key
from tests.trust.attacks import (
    MADE_ANEW,
    forge_transition,
    insert_audit,
    make_table_anew,
    old_xid,
)
from tests.trust.circumstances import restore
from tests.trust.world import AUDITOR, World, seal, start_world


@pytest.fixture
def world(empty: Connection) -> World:
    world = start_world(empty)
    seal(empty)
    world.newer = world.sign()
    return world


def forge(world: World) -> None:
    """A record under an old transaction's id, where no seal was made yet."""
    with world.conn.transaction():
        make_table_anew(world, objects=True)
        insert_audit(world, forge_transition(world), old_xid(world))


def test_it_is_named_through_all_later_seals_until_it_is_signed(world: World) -> None:
    forge(world)
    for _ in range(2):
        assert world.verify() == [MADE_ANEW]
        world.history.record(world.conn, 2)
        assert seal(world.conn) > 0
    assert world.verify() == [MADE_ANEW]
    assert world.verify(world.sign()) == []


def test_a_watch_signs_nothing_until_somebody_has(world: World, tmp_path: Path) -> None:
    conn, folder = world.conn, tmp_path / "checkpoints"
    key = write_key(tmp_path / "audit.key", world.key)
    succeed("grant", AUDITOR, "--as", "sealer", to=conn)
    signs = ("--key", key, "--dsn", dsn_of(conn, user=AUDITOR))
    watch = ("watch", "--once", "--checkpoints", str(folder), *signs)
    assert run(*watch, "--first").code == 0
    forge(world)
    succeed("grant", AUDITOR, "--as", "sealer", to=conn)
    kept = sorted(folder.iterdir())
    for _ in range(2):
        done = run(*watch)
        assert done.code == 1
        assert "made anew" in done.err
        assert sorted(folder.iterdir()) == kept
    succeed("checkpoint", "--folder", str(folder), *signs)
    assert run(*watch).code == 0


def test_a_restore_into_another_database_of_the_server_is_none(world: World) -> None:
    database = f"{world.conn.info.dbname}_restored"
    name = sql.Identifier(database)
    dump = pg_dump(world.conn)
    world.conn.execute(sql.SQL("CREATE DATABASE {}").format(name))
    try:
        with connect_again(world.conn, dbname=database) as conn:
            restore(dump, conn)
            restored = World(conn, world.history, SignerKey.from_text(world.key.to_text()))
            assert restored.verify(world.newer) == []
            world.history.record(conn, 2)
            seal(conn)
            assert restored.verify(world.newer) == []
    finally:
        world.conn.execute(sql.SQL("DROP DATABASE {}").format(name))
