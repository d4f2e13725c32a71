"""A primary and its standby: servers that keep enough WAL to be copied, promoted and rewound.

Each lies in a folder of its own, below one that the server's user may enter.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from step_audit.demo.embedded import EmbeddedServer, make_reachable
from tests.support.postgres import client_binaries, server_binaries

_SETTINGS = {
    "wal_level": "replica",
    "max_wal_senders": "4",
    "wal_keep_size": "512MB",
    # What pg_rewind asks of a server that it rewinds.
    "wal_log_hints": "on",
    "full_page_writes": "on",
    "max_prepared_transactions": "10",
    "wal_retrieve_retry_interval": "100ms",
    "timezone": "UTC",
}


def start_primary(folder: Path, *options: str, **settings: str) -> EmbeddedServer:
    """Make a server that standbys can follow, and start it; ``options`` are ``initdb``'s."""
    server = EmbeddedServer(folder, make_reachable(server_binaries(), folder.parent))
    server.create(_SETTINGS | settings, *options)
    return server


def start_standby(primary: EmbeddedServer, folder: Path) -> EmbeddedServer:
    """Make a copy of a running primary that follows it, and wait until it does."""
    standby = EmbeddedServer(folder, primary.binaries, primary.port)
    folder.mkdir(mode=0o700)
    _give_to_server(folder)
    _copy(primary, standby)
    _follow(primary, standby)
    return standby


def promote(standby: EmbeddedServer) -> None:
    """Make a standby the primary, and wait until it is."""
    _run(standby.binaries / "pg_ctl", "-D", str(standby.data), "-w", "promote")


def rewind(old: EmbeddedServer, new: EmbeddedServer) -> None:
    """Make a stopped or killed primary the standby of another that was promoted.

    By pg_rewind where the server's programs have it, else by a new copy.
    """
    program = old.binaries / "pg_rewind"
    if program.exists():
        # It looks for the new timeline in the control file, which the next checkpoint writes.
        execute(new, "CHECKPOINT")
        source = f"--source-server={new.dsn()}"
        _run(program, "-D", str(old.data), source, "--no-sync")
        _leave_to_replay(old)
    else:
        shutil.rmtree(old.data)
        _copy(new, old)
    _follow(new, old)


def archive_wal(folder: Path) -> dict[str, str]:
    """Make a folder for the WAL of a primary; gives the settings that let it be kept there."""
    folder.mkdir(mode=0o700)
    _give_to_server(folder)
    command = f"test ! -f {folder}/%f && cp %p {folder}/%f"
    return {"archive_mode": "on", "archive_command": f"'{command}'"}


def back_up(primary: EmbeddedServer, folder: Path) -> EmbeddedServer:
    """Copy a running primary; the copy is a server that has yet to be recovered."""
    copy = EmbeddedServer(folder, primary.binaries, primary.port)
    folder.mkdir(mode=0o700)
    _give_to_server(folder)
    _copy(primary, copy)
    return copy


def finish_archive(primary: EmbeddedServer) -> None:
    """Wait until all that was written up to now is in the archive."""
    ((file,),) = execute(primary, "SELECT pg_walfile_name(pg_switch_wal())")
    archived = "SELECT FROM pg_stat_archiver WHERE last_archived_wal >= %s"
    wait_until(lambda: bool(execute(primary, archived, file)), "archived")


def recover(copy: EmbeddedServer, archive: Path, point: str) -> None:
    """Start a copy, replay the archive up to a restore point, and let it go on from there."""
    with (copy.data / "postgresql.conf").open("a") as configuration:
        configuration.write(
            f"unix_socket_directories = '{copy.folder}'\n"
            "archive_mode = off\n"
            f"restore_command = 'cp {archive}/%f %p'\n"
            f"recovery_target_name = '{point}'\n"
            "recovery_target_action = promote\n"
        )
    signal_file = copy.data / "recovery.signal"
    signal_file.touch()
    _give_to_server(signal_file)
    copy.start()
    wait_until(lambda: execute(copy, "SELECT pg_is_in_recovery()") == [(False,)], "recovered")


def is_followed(primary: EmbeddedServer) -> bool:
    """Whether a standby streams from it."""
    found = execute(primary, "SELECT FROM pg_stat_replication WHERE state = 'streaming'")
    return bool(found)


def has_caught_up(standby: EmbeddedServer, primary: EmbeddedServer) -> bool:
    """Whether a standby shows all that the primary has written up to now."""
    ((written,),) = execute(primary, "SELECT pg_current_wal_flush_lsn()")
    ((shown,),) = execute(standby, "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", written)
    return bool(shown)


def cut_off(standby: EmbeddedServer) -> str:
    """Let a standby receive nothing more; gives up to where it has flushed what it received."""
    _set(standby, "primary_conninfo", "")
    wait_until(lambda: not execute(standby, "SELECT FROM pg_stat_wal_receiver"), "cut off")
    ((flushed,),) = execute(standby, "SELECT pg_last_wal_receive_lsn()::text")
    return str(flushed)


def connect_again(standby: EmbeddedServer, primary: EmbeddedServer) -> None:
    """Let a standby that was cut off follow its primary again."""
    _set(standby, "primary_conninfo", primary.dsn())
    wait_until(lambda: is_followed(primary), "followed")


def kill(server: EmbeddedServer) -> None:
    """Kill the postmaster without warning, and wait until all its processes have gone."""
    first = postmaster(server)
    processes = [first, *children(first)]
    os.kill(first, signal.SIGKILL)
    for process in processes[1:]:
        # One that was stopped would not see that the postmaster has gone.
        if _runs(process):
            os.kill(process, signal.SIGCONT)
    wait_until(lambda: not any(map(_runs, processes)), "gone")
    # In a container perhaps nobody buries them, and the dead would count as a running server.
    (server.data / "postmaster.pid").unlink()
    (server.folder / f".s.PGSQL.{server.port}.lock").unlink()


def postmaster(server: EmbeddedServer) -> int:
    """The process that a server began with."""
    return int((server.data / "postmaster.pid").read_text().split()[0])


def children(process: int) -> list[int]:
    """The child processes of a process."""
    listed = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(each) for each in listed.split()]


def limit_files(process: int, size: int | None) -> None:
    """Let a server's process, if it still runs, fail to write beyond a size, as on a full disk.

    None lifts the limit.
    """
    limit = "unlimited" if size is None else str(size)
    # Only the server's own user may do it, and a root without capabilities may not.
    done = _try(Path("prlimit"), "--pid", str(process), f"--fsize={limit}:")
    assert done.returncode == 0 or not _runs(process), done.stderr


def execute(server: EmbeddedServer, statement: str, *parameters: object) -> list[Any]:
    """Execute one statement in a session of its own; gives its rows."""
    with psycopg.connect(server.dsn(), autocommit=True) as conn:
        done = conn.execute(statement.encode(), parameters or None)
        return done.fetchall() if done.description is not None else []


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Look again and again until a condition holds; fails after a minute."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not {what} after {seconds} s"
        time.sleep(0.01)


def _copy(primary: EmbeddedServer, standby: EmbeddedServer) -> None:
    program = make_reachable(client_binaries(), primary.folder.parent) / "pg_basebackup"
    target = ("-D", str(standby.data), "-c", "fast", "-X", "stream", "--no-sync")
    _run(program, "-d", primary.dsn(), *target)


def _follow(primary: EmbeddedServer, standby: EmbeddedServer) -> None:
    # Both pg_basebackup and pg_rewind bring the configuration of the server that they read.
    with (standby.data / "postgresql.conf").open("a") as configuration:
        configuration.write(f"unix_socket_directories = '{standby.folder}'\n")
    with (standby.data / "postgresql.auto.conf").open("a") as configuration:
        # What pg_basebackup would write, older servers do not understand all of.
        configuration.write(f"primary_conninfo = '{primary.dsn()}'\n")
    signal_file = standby.data / "standby.signal"
    signal_file.touch()
    _give_to_server(signal_file)
    standby.start()
    wait_until(lambda: is_followed(primary), "followed")


def _leave_to_replay(server: EmbeddedServer) -> None:
    """Remove the files of transactions that were prepared after the point where recovery begins.

    To replay the WAL prepares them again. PostgreSQL 17 and 18 would remove the files themselves,
    but look for them under a wrong name; in the replay they then find them, take the transactions
    for restored and lose them: https://postgr.es/m/13b5b6-676c3080-4d-531db900@47931709
    """
    label = (server.data / "backup_label").read_text()
    begin = re.search(r"\(file (.*)\)\nCHECKPOINT LOCATION: (\S+)/(\S+)", label)
    assert begin, label
    first, high, low = begin.groups()
    # The record of the checkpoint may lie in a later segment than where the replay begins. It is
    # named, as of the others some may be empty yet.
    size = (server.data / "pg_wal" / first).stat().st_size
    segment = server.data / "pg_wal" / f"{first[:8]}{int(high, 16):08X}{int(low, 16) // size:08X}"
    checkpoint = _run(
        server.binaries / "pg_waldump", "-s", f"{high}/{low}", "-n", "1", str(segment)
    )
    following = re.search(r"; xid (\d+):(\d+);", checkpoint)
    assert following, checkpoint
    epoch, xid = map(int, following.groups())
    for file in (server.data / "pg_twophase").iterdir():
        if int(file.name, 16) >= epoch << 32 | xid:
            file.unlink()


def _give_to_server(path: Path) -> None:
    if os.geteuid() == 0:
        shutil.chown(path, "nobody")


def _set(server: EmbeddedServer, setting: str, value: str) -> None:
    execute(server, f"ALTER SYSTEM SET {setting} = '{value}'")
    execute(server, "SELECT pg_reload_conf()")


def _runs(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _run(program: Path, *arguments: str) -> str:
    done = _try(program, *arguments)
    assert done.returncode == 0, f"{program.name}: {done.stderr or done.stdout}"
    return done.stdout


def _try(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Postgres refuses to run as root.
    user = "nobody" if os.geteuid() == 0 else None
    return subprocess.run(
        [program, *arguments],
        user=user,
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
