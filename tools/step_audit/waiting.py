"""Tell of a command that waits for a lock: for which, behind whom, and what to do.

A thread looks through a connection of its own. A look that fails is the last one, and says nothing:
the command goes on as it would without.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from step_audit.database import Connection, connect, looking_up
from step_audit.errors import StepAuditError

SECONDS = 5.0
"""How long a command waits before it says so, and between two looks."""

THREAD = "step-audit looks for waits"

# How long the end of a command may wait for a look.
_LEAVING = 0.2

_LIMIT = "SET TRANSACTION READ ONLY; SET LOCAL statement_timeout = '3s'"

# pg_blocking_pids gives 0 for a prepared transaction. What others do is hidden from most roles, but
# not their names.
_LOOK = """
SELECT
    w.pid,
    w.mode,
    coalesce(pg_catalog.format('%%I.%%I', n.nspname, c.relname), w.locktype) AS target,
    b.pid AS blocker,
    s.application_name,
    s.usename AS role_name,
    s.xact_start AT TIME ZONE 'UTC' AS since,
    s.pid IS NOT NULL AND s.state IS NULL AND s.xact_start IS NULL AS hidden
FROM pg_catalog.pg_locks AS w
JOIN pg_catalog.pg_stat_activity AS a ON a.pid = w.pid
CROSS JOIN LATERAL pg_catalog.unnest(pg_catalog.pg_blocking_pids(w.pid)) AS b (pid)
LEFT JOIN pg_catalog.pg_class AS c ON c.oid = w.relation AND a.datname = CURRENT_DATABASE()
LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_stat_activity AS s ON s.pid = b.pid
WHERE
    NOT w.granted
    AND w.waitstart <= pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => %(seconds)s)
    AND a.datname = CURRENT_DATABASE()
    AND a.usename = SESSION_USER
    AND (w.pid = %(pid)s OR a.application_name = ANY(%(names)s))
ORDER BY w.pid, b.pid
"""


def name_of_parts() -> str:
    """The application name of connections that work for one of this process."""
    return f"step-audit part of process {os.getpid()}"


@contextmanager
def telling_of_waits(
    conn: Connection, tell: Callable[[str], object], seconds: float | None = None
) -> Iterator[None]:
    """Within, ``tell`` is given a line when ``conn`` has waited for a lock for so many seconds.

    It is told again when somebody else is waited for. Connections named by :func:`name_of_parts`
    are looked at too.

    Args:
        conn: in autocommit.
        tell: called from another thread.
        seconds: :data:`SECONDS` if not given.
    """
    ended = threading.Event()
    look = _Look(conn, SECONDS if seconds is None else seconds)
    thread = threading.Thread(target=_follow, args=(look, tell, ended), name=THREAD, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_LEAVING)


def _follow(look: _Look, tell: Callable[[str], object], ended: threading.Event) -> None:
    told: frozenset[object] = frozenset()
    # The value error is of a name that is not UTF-8, in a database that takes any.
    with suppress(psycopg.Error, StepAuditError, OSError, ValueError):
        while not ended.wait(look.seconds):
            rows = look.find()
            blockers = frozenset((row["blocker"], row["since"]) for row in rows)
            if rows and blockers != told and not ended.is_set():
                told = blockers
                tell(_describe(rows, look.is_pooled))


class _Look:
    """What is looked for, and where."""

    def __init__(self, conn: Connection, seconds: float) -> None:
        info = conn.info
        self.seconds = seconds
        # Of several hosts, the one that is connected to.
        where = {"host": info.host, "port": str(info.port), "hostaddr": info.hostaddr}
        parameters: dict[str, Any] = {**info.get_parameters(), **where, "connect_timeout": "3"}
        self._dsn = make_conninfo("", **parameters, password=info.password or None)
        self._pid: int | None = None
        # A pooler tells its clients of a process that is none of the server's.
        with suppress(psycopg.Error):
            (row,) = conn.execute("SELECT pg_catalog.pg_backend_pid() AS pid").fetchall()
            self._pid = row["pid"] if row["pid"] == info.backend_pid else None
        self.is_pooled = self._pid is None
        self._names = [name_of_parts()]
        if self.is_pooled:
            self._names.append(info.parameter_status("application_name") or "step-audit")

    def find(self) -> list[dict[str, Any]]:
        """A row for each that one of the command's connections has been waiting for."""
        with connect(self._dsn) as conn, looking_up(conn):
            conn.execute(_LIMIT)
            found = conn.execute(
                _LOOK, {"seconds": self.seconds, "pid": self._pid, "names": self._names}
            ).fetchall()
        own = {row["pid"] for row in found}
        # One of another command may have the same name.
        if self.is_pooled and len(own) > 1:
            return []
        return [row for row in found if row["blocker"] not in own]


def _describe(rows: list[dict[str, Any]], is_pooled: bool) -> str:
    blockers = {row["blocker"]: row for row in rows}
    who = "this command, or another behind the same pooler," if is_pooled else "this command"
    ends = ["COMMIT PREPARED or ROLLBACK PREPARED"] if 0 in blockers else []
    pids = [pid for pid in blockers if pid]
    if pids:
        calls = "; ".join(f"SELECT pg_terminate_backend({pid})" for pid in pids)
        ends.append(f"where it was begun, or by {calls}")
    return (
        f"{who} waits for a lock, {rows[0]['mode']} on {rows[0]['target']}, behind "
        f"{', '.join(map(_name, blockers.values()))}. It goes on by itself when that ends: wait; "
        f"or end that, {', and '.join(ends)}; or stop this command with Ctrl-C."
    )


def _name(row: dict[str, Any]) -> str:
    if not row["blocker"]:
        return "a prepared transaction (see pg_prepared_xacts)"
    known = [row["application_name"]] if row["application_name"] else []
    if row["role_name"]:
        known.append(f"role {row['role_name']}")
    if row["since"]:
        known.append(f"in a transaction since {row['since']:%Y-%m-%d %H:%M:%S} UTC")
    elif row["hidden"]:
        known.append("since when a role without pg_monitor cannot see")
    return f"process {row['blocker']}" + (f" ({', '.join(known)})" if known else "")
