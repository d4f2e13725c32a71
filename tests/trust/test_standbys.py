"""Checkpoints of a server with a standby: what a failover may lose is not signed."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from step_audit.database import Connection
from step_audit.demo.embedded import EmbeddedServer
from step_audit.trust.checkpoint import Checkpoint, open_checkpoint
from tests.support import replication
from tests.support.command import Done, step_audit
from tests.support.connect import connect
from tests.support.host import HOST
from tests.support.install import install_audit
from tests.support.keys import write_key
from tests.support.postgres import client_binaries
from tests.support.replication import execute, wait_until
from tests.support.results import record_results
from tests.support.sealed import SIGNER, VERIFIER_KEY
from tests.trust.world import seal

DATABASE = "audited"


class Pair:
    """A primary with an audited engine, and its standby."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.primary = replication.start_primary(folder / "primary", wal_level="logical")
        execute(self.primary, f"CREATE DATABASE {DATABASE}")
        self.conn = connect(self.primary.dsn(DATABASE))
        HOST.create(self.conn)
        install_audit(self.conn)
        self.standby = replication.start_standby(self.primary, folder / "standby")
        self.key = write_key(folder / "key", SIGNER)
        self.seal_one_more()

    def seal_one_more(self) -> None:
        record_results(self.conn, 1)
        assert seal(self.conn) == 1

    def checkpoint(
        self, *options: str, server: EmbeddedServer | None = None, user: str = "postgres"
    ) -> Done:
        dsn = f"{(server or self.primary).dsn(DATABASE)} user={user}"
        return step_audit("checkpoint", "--first", "--key", self.key, *options, "--dsn", dsn)

    def close(self) -> None:
        self.conn.close()
        for server in (self.standby, self.primary):
            server.remove()


@contextmanager
def stopped(server: EmbeddedServer, process: str) -> Iterator[None]:
    """One of a server's processes does nothing meanwhile; its connections stay."""
    ((pid,),) = execute(server, "SELECT pid FROM pg_stat_activity WHERE backend_type = %s", process)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def pair(server_folder: Path) -> Iterator[Pair]:
    folder = server_folder / "pair"
    folder.mkdir(mode=0o755)
    made = Pair(folder)
    yield made
    made.close()


def signed(done: Done) -> Checkpoint:
    assert done.code == 0, done.err
    return open_checkpoint(done.out, VERIFIER_KEY)


def log_size(conn: Connection) -> int:
    (row,) = conn.execute("SELECT max(tree_size) AS size FROM step_audit_seals").fetchall()
    return int(row["size"])


def server_of(server: EmbeddedServer) -> tuple[Any, ...]:
    ((system, timeline),) = execute(
        server,
        "SELECT s.system_identifier, c.timeline_id "
        "FROM pg_control_system() AS s, pg_control_checkpoint() AS c",
    )
    return system % 2**64, timeline


def test_what_the_standby_has_is_signed(pair: Pair) -> None:
    pair.seal_one_more()
    done = pair.checkpoint()
    assert done.err == "durable: flushed by each standby\n"
    checkpoint = signed(done)
    assert checkpoint.tree_size == log_size(pair.conn)
    assert (checkpoint.system_identifier, checkpoint.timeline) == server_of(pair.primary)


def test_what_the_standby_has_not_flushed_is_not_signed(pair: Pair, tmp_path: Path) -> None:
    file = tmp_path / "late.checkpoint"
    with stopped(pair.standby, "walreceiver"):
        pair.seal_one_more()
        done = pair.checkpoint("--out", str(file), "--standby-timeout", "0.2")
        assert (done.code, done.out) == (3, "")
        assert done.err.startswith("step-audit: standby walreceiver has not flushed the log up to ")
        assert done.err.endswith(
            " in 0.2 s; nothing was signed, as a failover to it would lose what was. "
            "Look at pg_stat_replication; wait longer with --standby-timeout, or sign "
            "nevertheless with --no-wait-standby.\n"
        )
        assert not file.exists()
        unwaited = pair.checkpoint("--no-wait-standby")
        assert unwaited.err == ""
        assert signed(unwaited).tree_size == log_size(pair.conn)


def test_a_checkpoint_waits_until_the_standby_goes_on(pair: Pair) -> None:
    with stopped(pair.standby, "walreceiver"):
        pair.seal_one_more()
        refused = pair.checkpoint("--standby-timeout", "0")
        assert refused.code == 3
    done = pair.checkpoint("--standby-timeout", "60")
    assert done.err == "durable: flushed by each standby\n"
    ((shown,),) = execute(
        pair.standby, "SELECT pg_last_wal_receive_lsn() >= %s::pg_lsn", _flushed(pair)
    )
    assert shown


def _flushed(pair: Pair) -> str:
    ((lsn,),) = execute(pair.primary, "SELECT pg_current_wal_flush_lsn()::text")
    return str(lsn)


def test_what_the_server_itself_has_not_flushed_yet_is_waited_for(pair: Pair) -> None:
    execute(pair.primary, "ALTER SYSTEM SET wal_writer_delay = '2s'")
    execute(pair.primary, "SELECT pg_reload_conf()")
    with connect(pair.primary.dsn(DATABASE)) as conn:
        conn.execute("SET synchronous_commit = off")
        record_results(conn, 1)
        assert seal(conn) == 1
        (row,) = conn.execute("SELECT pg_current_wal_insert_lsn()::text AS lsn").fetchall()
    checkpoint = signed(pair.checkpoint())
    assert checkpoint.tree_size == log_size(pair.conn)
    ((has,),) = execute(pair.standby, "SELECT pg_last_wal_receive_lsn() >= %s::pg_lsn", row["lsn"])
    assert has


FOLLOWERS = {
    "pg_receivewal": ("--create-slot", "-S", "archive"),
    "pg_recvlogical": (
        *("--create-slot", "--start", "-S", "subscriber", "-P", "pgoutput", "-f", "-"),
        *("-o", "proto_version=1", "-o", "publication_names=none"),
    ),
}
"""What follows a server, and cannot take its place; each creates its slot."""


@pytest.mark.parametrize("program", FOLLOWERS)
def test_who_could_not_take_the_place_of_the_server_is_not_waited_for(
    pair: Pair, program: str
) -> None:
    def follows() -> bool:
        found = execute(pair.primary, "SELECT FROM pg_stat_replication WHERE state = 'streaming'")
        return len(found) > 1

    with following(pair, program) as process:
        wait_until(follows, "followed by two")
        process.send_signal(signal.SIGSTOP)
        pair.seal_one_more()
        done = pair.checkpoint("--standby-timeout", "20")
        assert done.err == "durable: flushed by each standby\n"
    assert signed(done).tree_size == log_size(pair.conn)


@contextmanager
def following(pair: Pair, program: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program reads the server's WAL."""
    options = list(FOLLOWERS[program])
    command: list[str | Path] = [client_binaries() / program, "-d", pair.primary.dsn(DATABASE)]
    if program == "pg_receivewal":
        (pair.folder / "archive").mkdir()
        subprocess.run([*command, *options], check=True, capture_output=True)
        options = ["-S", "archive", "-D", str(pair.folder / "archive")]
    process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        wait_until(
            lambda: len(execute(pair.primary, "SELECT FROM pg_stat_replication")) == 1, "gone"
        )
        execute(
            pair.primary,
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
            "WHERE slot_name IN ('archive', 'subscriber')",
        )


def test_a_role_that_may_not_see_the_standbys_is_told(pair: Pair) -> None:
    execute(pair.primary, "CREATE ROLE signer LOGIN")
    install_schema = HOST.audit_schema
    pair.conn.execute(f"SELECT {install_schema}.grant_step_audit('signer', 'sealer')".encode())
    with stopped(pair.standby, "walreceiver"):
        pair.seal_one_more()
        done = pair.checkpoint(user="signer")
        assert done.err == (
            "durable: unknown, as this role may not see what the standbys have flushed\n"
        )
        assert signed(done).timeline == 1
        execute(pair.primary, "GRANT pg_monitor TO signer")
        assert pair.checkpoint("--standby-timeout", "0", user="signer").code == 3
    assert pair.checkpoint(user="signer").err == "durable: flushed by each standby\n"


def test_a_server_that_a_role_may_not_know_is_not_named(pair: Pair) -> None:
    function = "FUNCTION pg_control_system()"
    pair.conn.execute("CREATE ROLE uninformed LOGIN")
    pair.conn.execute(
        f"SELECT {HOST.audit_schema}.grant_step_audit('uninformed', 'sealer')".encode()
    )
    pair.conn.execute(f"REVOKE EXECUTE ON {function} FROM PUBLIC".encode())
    try:
        checkpoint = signed(pair.checkpoint(user="uninformed"))
    finally:
        pair.conn.execute(f"GRANT EXECUTE ON {function} TO PUBLIC".encode())
    assert (checkpoint.system_identifier, checkpoint.timeline) == (None, None)
    assert checkpoint.tree_size == log_size(pair.conn)


def test_a_checkpoint_of_the_standby_says_what_it_does_not_know(pair: Pair) -> None:
    pair.seal_one_more()
    wait_until(lambda: replication.has_caught_up(pair.standby, pair.primary), "caught up")
    done = pair.checkpoint(server=pair.standby)
    assert done.err == (
        "durable: unknown, as this server is a standby and does not see what others have flushed\n"
    )
    assert signed(done) == signed(pair.checkpoint())


@pytest.mark.parametrize(
    "arguments",
    [
        ("install",),
        ("install", "--dry-run"),
        ("attach",),
        ("detach",),
        ("seal",),
        ("backfill",),
        ("grant", "postgres", "--as", "reader"),
        ("uninstall", "--yes"),
    ],
    ids=" ".join,
)
def test_a_command_that_writes_names_the_standby(pair: Pair, arguments: tuple[str, ...]) -> None:
    if arguments == ("backfill",):
        with pair.conn.transaction():
            pair.conn.execute("SET LOCAL session_replication_role = replica")
            record_results(pair.conn, 1)
    wait_until(lambda: replication.has_caught_up(pair.standby, pair.primary), "caught up")
    done = step_audit(*arguments, "--dsn", pair.standby.dsn(DATABASE))
    assert (done.code, done.out, done.err) == (
        3,
        "",
        "step-audit: this server is a standby (pg_is_in_recovery), on which nothing can be "
        "written; nothing was changed. Run it on the primary.\n",
    )


def test_what_a_hold_would_cover_is_told_on_the_standby(pair: Pair) -> None:
    # Of a task that is not there, as what the standby has replayed is not waited for.
    task = "019f0000-0000-7000-8000-000000000000"
    hold = ("hold", "--task", task, "--reason", "litigation", "--dsn", pair.standby.dsn(DATABASE))
    said = step_audit(*hold, "--dry-run")
    assert (said.code, said.err) == (0, "")
    assert said.out == f"would hold task {task}: 0 audit rows by now; nothing was written\n"
    assert step_audit(*hold).code == 3


def test_the_timeline_after_a_promotion_is_the_new_one_at_once(server_folder: Path) -> None:
    folder = server_folder / "promoted"
    folder.mkdir(mode=0o755)
    pair = Pair(folder)
    try:
        pair.seal_one_more()
        before = signed(pair.checkpoint())
        replication.kill(pair.primary)
        # The control file knows of the new timeline only by the next checkpoint.
        with stopped(pair.standby, "checkpointer"):
            replication.promote(pair.standby)
            after = pair.checkpoint(server=pair.standby)
        assert after.err == ""
        assert signed(after) == Checkpoint(
            before.origin,
            before.tree_size,
            before.root_hash,
            before.system_identifier,
            2,
            before.seal_hash,
        )
        replication.rewind(pair.primary, pair.standby)
        wait_until(lambda: replication.has_caught_up(pair.primary, pair.standby), "caught up")
        assert signed(pair.checkpoint(server=pair.primary)) == signed(after)
        assert pair.checkpoint(server=pair.standby).err == "durable: flushed by each standby\n"
    finally:
        pair.close()
