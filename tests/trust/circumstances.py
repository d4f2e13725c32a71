"""The columns of the matrix: each prepares a world in its own way."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from psycopg import IsolationLevel

from step_audit.database import Connection, call
from step_audit.demo.embedded import EmbeddedServer
from step_audit.setup.sources import load_sources
from tests.support import replication
from tests.support.command import pg_dump, psql
from tests.support.connect import connect, connect_again
from tests.support.host import HOST
from tests.support.postgres import MAJOR
from tests.trust.world import (
    Meeting,
    World,
    create_owner,
    grow_to_newer,
    grow_to_older,
    seal,
    start_world,
)


@dataclass(frozen=True)
class Workshop:
    """Where worlds are made: new databases, and servers for one world alone."""

    database: Callable[[], Connection]
    extended_database: Callable[[], Connection]
    server: Callable[[int | None], EmbeddedServer]
    pair: Callable[[], tuple[EmbeddedServer, Callable[[], EmbeddedServer]]]
    closing: Callable[[Connection], Connection]


@dataclass(frozen=True)
class Circumstance:
    """How a world comes about; ``lacks`` are attacks that make no sense there."""

    name: str
    prepare: Callable[[Workshop], World] = field(repr=False)
    lacks: frozenset[str] = frozenset()


def prepare_plain(workshop: Workshop) -> World:
    world = start_world(workshop.database())
    grow_to_older(world)
    grow_to_newer(world)
    return world.finish()


def with_settings(prepared: dict[str, str], verified: dict[str, str]) -> Callable[..., World]:
    """Everything prepared under some settings, and verified under others."""

    def prepare(workshop: Workshop) -> World:
        conn = workshop.database()
        _set(conn, prepared)
        world = start_world(conn)
        grow_to_older(world)
        grow_to_newer(world)
        world.finish()
        conn.execute("RESET ALL")
        _set(conn, verified)
        return world

    return prepare


def with_isolation(level: IsolationLevel) -> Callable[[Workshop], World]:
    """Attacked and verified in transactions of this isolation, in which nothing can be sealed."""

    def prepare(workshop: Workshop) -> World:
        world = prepare_plain(workshop)
        world.conn.isolation_level = level
        name = level.name.replace("_", " ")
        world.conn.execute(f"SET default_transaction_isolation = '{name}'".encode())
        return world

    return prepare


def prepare_beside_writers(workshop: Workshop) -> World:
    """Eight writers whose transactions are all open during each seal.

    Then some commit, some roll back, and some stay open into the next seals.
    """
    writers, rounds = 8, 4
    world = start_world(workshop.database())
    wrote, sealed = Meeting(writers + 1), Meeting(writers + 1)

    def write(writer: int) -> None:
        with connect_again(world.conn) as conn:
            is_open = False
            for number in range(rounds):
                if not is_open:
                    conn.execute("BEGIN")
                world.history.record(conn, 20)
                conn.execute("SAVEPOINT here")
                world.history.record(conn, 3)
                conn.execute("ROLLBACK TO here")
                wrote.wait()
                sealed.wait()
                end = ("ROLLBACK", "", "COMMIT", "COMMIT")[(writer + number) % 4]
                is_open = not end
                if end:
                    conn.execute(end.encode())
                # A transaction that ends once a newer one has been sealed.
                world.history.record(conn, 8)
            if is_open:
                conn.execute("COMMIT")

    with ThreadPoolExecutor(writers) as pool:
        done = [pool.submit(write, writer) for writer in range(writers)]
        for number in range(rounds):
            wrote.wait()
            assert seal(world.conn, 30)
            if number == rounds // 2:
                world.older = world.sign()
            sealed.wait()
        for each in done:
            each.result()
    assert seal(world.conn)
    grow_to_newer(world)
    return world.finish()


def prepare_by_two_sealers(workshop: Workshop) -> World:
    """Two that seal at the same time, again and again."""
    rounds = 6
    world = start_world(workshop.database())
    start, end = Meeting(3), Meeting(3)

    def run() -> int:
        with connect_again(world.conn) as conn:
            sealed = 0
            for _ in range(rounds):
                start.wait()
                sealed += seal(conn, 20)
                end.wait()
            return sealed

    with ThreadPoolExecutor(2) as pool:
        done = [pool.submit(run) for _ in range(2)]
        for number in range(rounds):
            world.history.record(world.conn, 100)
            start.wait()
            end.wait()
            if number == rounds // 2:
                world.older = world.sign()
        assert sum(each.result() for each in done) >= 600
    return world.finish()


def restored_into(major: int) -> Callable[[Workshop], World]:
    """Dumped, restored into a new server of this major, where all goes on."""

    def prepare(workshop: Workshop) -> World:
        world = start_world(workshop.database())
        # So the transaction ids of the old server are well above those of the new one.
        for _ in range(3000):
            world.conn.execute("SELECT pg_current_xact_id()")
        grow_to_older(world)
        world.history.record(world.conn, 3)
        conn = workshop.closing(connect(workshop.server(major).dsn()))
        restore(pg_dump(world.conn), conn)
        call(conn, HOST.audit_schema, "attach_step_result_audit")
        world.conn = conn
        assert_ids_restarted(world)
        grow_to_newer(world)
        return world.finish()

    return prepare


def prepare_restored_extension(workshop: Workshop) -> World:
    """The same with the extension, in its own major."""
    world = start_world(workshop.extended_database(), "as extension")
    grow_to_older(world)
    conn = workshop.extended_database()
    restore(pg_dump(world.conn), conn)
    call(conn, HOST.audit_schema, "attach_step_result_audit")
    world.conn = conn
    grow_to_newer(world)
    return world.finish()


def prepare_frozen(workshop: Workshop) -> World:
    world = start_world(workshop.database())
    grow_to_older(world)
    world.conn.execute("VACUUM (FREEZE)")
    grow_to_newer(world)
    world.finish()
    world.conn.execute("VACUUM (FREEZE)")
    return world


def prepare_killed(workshop: Workshop) -> World:
    """The server dies while a transaction that has sealed is open."""
    server = workshop.server(None)
    world = start_world(connect(server.dsn()))
    grow_to_older(world)
    world.history.record(world.conn, 50)
    sealer = connect_again(world.conn)
    sealer.execute("BEGIN")
    assert seal(sealer) == 50
    kill(server)
    for conn in (sealer, world.conn):
        conn.close()
    server.start()
    world.conn = workshop.closing(connect(server.dsn()))
    grow_to_newer(world)
    return world.finish()


def prepare_failed_over(workshop: Workshop) -> World:
    """The standby, which has all, is promoted when the primary dies, and goes on."""
    primary, follow = workshop.pair()
    world = start_world(connect(primary.dsn()))
    standby = follow()
    grow_to_older(world)
    replication.wait_until(lambda: replication.has_caught_up(standby, primary), "caught up")
    world.conn.close()
    replication.kill(primary)
    replication.promote(standby)
    world.conn = workshop.closing(connect(standby.dsn()))
    grow_to_newer(world)
    return world.finish()


def assert_ids_restarted(world: World) -> None:
    """The newest record comes from a transaction that the server has yet to begin."""
    (ids,) = world.conn.execute(
        "SELECT max(recorded_xid) AS newest, pg_current_xact_id()::text::bigint AS here "
        "FROM tasker_workflow_step_result_audit"
    ).fetchall()
    assert ids["newest"] > ids["here"] + 500


def kill(server: EmbeddedServer) -> None:
    """Kill -9: the postmaster first, then what it has started."""
    postmaster = int((server.data / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    for process in (postmaster, *map(int, children)):
        os.kill(process, signal.SIGKILL)
    # In a container perhaps nobody buries them, and the dead would count as a running server.
    (server.data / "postmaster.pid").unlink()
    (server.folder / f".s.PGSQL.{server.port}.lock").unlink()


def restore(dump: str, conn: Connection) -> None:
    """Run a dump, which the newest pg_dump wrote, in a database of any major."""
    create_owner(conn)
    if conn.info.server_version < 170000:
        dump = dump.replace("SET transaction_timeout = 0;\n", "")
    if conn.info.server_version < 180000:
        dump = dump.replace("DEFAULT uuidv7()", "DEFAULT gen_random_uuid()")
        dump = re.sub(r"^ALTER TABLE [^;]* NOT ENFORCED;\n", "", dump, flags=re.MULTILINE)
        dump = re.sub(r"^COMMENT ON CONSTRAINT fk_audit_[^;]*;\n", "", dump, flags=re.MULTILINE)
    done = psql(conn, dump)
    assert done.code == 0, done.err
    if conn.info.server_version < 180000:
        # The file that makes keys where the server cannot.
        (keys,) = (file for file in load_sources().migrations if "audit_keys" in file.path)
        conn.execute(keys.text.encode())


def _set(conn: Connection, settings: dict[str, str]) -> None:
    for name, value in settings.items():
        conn.execute("SELECT set_config(%s, %s, FALSE)", (name, value))


_WEST = {
    "timezone": "America/New_York",
    "datestyle": "SQL, DMY",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "intervalstyle": "sql_standard",
}
_EAST = {
    "timezone": "Asia/Kathmandu",
    "datestyle": "German",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "intervalstyle": "iso_8601",
}

# Those in which something is sealed or signed, as no transaction of another isolation can.
_SEALS = frozenset(
    {
        "another_seal",
        "rewrite_whole_log",
        "sign_with_another_key",
        "edit_checkpoint",
        "delete_signed_seal",
        "seal_behind_the_signed_seal",
        "seal_behind_a_later_seal",
        "seal_in_a_table_made_anew",
    }
)
# Servers before 18 cannot declare a key without checking it.
# Before 18 no key that is not enforced can be declared.
_KEYS = frozenset({"drop_foreign_key", "weaken_foreign_key"})
_LACKS = _KEYS if MAJOR < 18 else frozenset[str]()

CIRCUMSTANCES = {
    each.name: replace(each, lacks=each.lacks | _LACKS)
    for each in (
        Circumstance("plain", prepare_plain),
        Circumstance("west_to_east", with_settings(_WEST, _EAST)),
        Circumstance("east_to_west", with_settings(_EAST, _WEST)),
        *(
            Circumstance(level.name.lower(), with_isolation(level), _SEALS)
            for level in (IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE)
        ),
        Circumstance("writers", prepare_beside_writers),
        Circumstance("two_sealers", prepare_by_two_sealers),
        *(
            Circumstance(f"restored_{n}", restored_into(n), _KEYS if n < 18 else frozenset())
            for n in (15, 16, 17, 18)
        ),
        Circumstance(
            "extension",
            prepare_restored_extension,
            # What is the extension's cannot be dropped alone.
            frozenset(
                {
                    "recreate_table",
                    "recreate_table_bare",
                    "seal_in_a_table_made_anew",
                    "recreate_table_doctored",
                    "drop_function",
                    "function_of_another_type",
                }
            ),
        ),
        Circumstance("frozen", prepare_frozen),
        Circumstance("killed", prepare_killed),
        Circumstance("failed_over", prepare_failed_over),
    )
}
