"""Dump a database and restore it into another, by Postgres' own programs."""

from __future__ import annotations

from pathlib import Path

from tests.hosts.world import World
from tests.support.command import Done, client, psql
from tests.support.connect import dsn_of
from tests.support.postgres import MAJOR


def by_psql(source: World, target: World, folder: Path, *options: str, **parameters: str) -> None:
    dump = _succeed(client("pg_dump", *options, "-d", dsn_of(source.conn))).out
    if MAJOR < 17:
        # pg_dump is the newest; older servers do not know this setting of its scripts.
        dump = dump.replace("SET transaction_timeout = 0;\n", "")
    _succeed(psql(target.conn, dump, **parameters))


def by_owner(source: World, target: World, folder: Path, *options: str) -> None:
    by_psql(source, target, folder, *options, user=target.engine.owner)


def by_pg_restore(source: World, target: World, folder: Path, *options: str) -> None:
    jobs = [option for option in options if option.startswith("-j")]
    backup = str(folder / "backup")
    _succeed(client("pg_dump", *options, "-f", backup, "-d", dsn_of(source.conn)))
    done = client("pg_restore", *jobs, "-d", dsn_of(target.conn), backup)
    if MAJOR < 17:
        assert done.err.count("ERROR: ") == done.err.count(
            'unrecognized configuration parameter "transaction_timeout"'
        )
    else:
        _succeed(done)


def _succeed(done: Done) -> Done:
    assert (done.code, done.err) == (0, "")
    return done
