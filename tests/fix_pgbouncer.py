"""pgbouncer in transaction mode before the server of most tests.

With one server connection all its clients use the same session in turn, so that whatever one of
them leaves there is the next one's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import pytest

from step_audit.database import Connection
from tests.fix_database import RunningServer

# Gives the connection string through a new pooler to the database of a connection.
NewPooler = Callable[..., str]


@pytest.fixture
def new_pooler(pg_server: RunningServer, server_folder: Path) -> Iterator[NewPooler]:
    """Start poolers, which stop with the test."""
    with ExitStack() as stack:

        def start(conn: Connection, connections: int = 1) -> str:
            folder = stack.enter_context(_running(pg_server, server_folder, connections))
            return f"host={folder} port=6432 user=postgres dbname={conn.info.dbname}"

        yield start


_numbers = count()


@contextmanager
def _running(server: RunningServer, parent: Path, connections: int) -> Iterator[Path]:
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.fail("pgbouncer is not installed. Install it: apt-get install pgbouncer")
    folder = parent / f"pgbouncer{next(_numbers)}"
    folder.mkdir(mode=0o755)
    (folder / "pgbouncer.ini").write_text(
        f"""
        [databases]
        * = host={server.host} port={server.port} user={server.user}

        [pgbouncer]
        listen_addr =
        listen_port = 6432
        unix_socket_dir = {folder}
        unix_socket_mode = 0777
        auth_type = any
        pool_mode = transaction
        default_pool_size = {connections}
        server_reset_query =
        log_connections = 0
        log_disconnections = 0
        log_stats = 0
        """
    )
    # It refuses to run as root, as Postgres does.
    user = "nobody" if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user)
    with subprocess.Popen(
        [program, str(folder / "pgbouncer.ini")],
        user=user,
        cwd="/",
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            said = ""
            while "process up" not in said:
                line = process.stderr.readline()
                assert line, f"pgbouncer did not start: {said}"
                said += line
            yield folder
        finally:
            process.terminate()
