"""Which server a log is read from, and whether its standbys have what was read."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum

import psycopg

from step_audit.database import Connection, looking_up
from step_audit.errors import RefusedError

# What a primary writes is of the timeline in its files' names; the control file knows of a
# promotion only after the next checkpoint. A standby's is the newest that it received or replayed.
_IDENTIFY = """
SELECT
    pg_catalog.pg_is_in_recovery() AS in_recovery,
    s.system_identifier,
    CASE
        WHEN pg_catalog.pg_is_in_recovery() THEN NULL
        ELSE pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8)
    END AS written_timeline,
    (
        SELECT max(each.timeline) FROM (
            SELECT c.timeline_id FROM pg_catalog.pg_control_checkpoint() AS c
            UNION ALL
            SELECT r.min_recovery_end_timeline FROM pg_catalog.pg_control_recovery() AS r
            UNION ALL
            SELECT w.received_tli FROM pg_catalog.pg_stat_wal_receiver AS w
        ) AS each (timeline)
    ) AS replayed_timeline
FROM pg_catalog.pg_control_system() AS s
"""

# The commit of what was read is in the WAL before where it is inserted now. Where that was an
# asynchronous commit, it is flushed within three times wal_writer_delay; what is not flushed then
# belongs to transactions that have not committed.
_INSERTED = """
SELECT
    pg_catalog.pg_current_wal_insert_lsn() AS inserted,
    3 * s.setting::pg_catalog.int4 / 1000.0 AS seconds
FROM pg_catalog.pg_settings AS s
WHERE s.name = 'wal_writer_delay'
"""
_FLUSHED = """
SELECT f.flushed, f.flushed >= %s::pg_catalog.pg_lsn AS reached
FROM pg_catalog.pg_current_wal_flush_lsn() AS f (flushed)
"""

# Those who follow this server but could not take its place are left out: subscribers and archivers.
_STANDBYS = """
SELECT
    coalesce(nullif(r.application_name, ''), 'pid ' || r.pid) AS name,
    r.state IS NULL AS hidden,
    coalesce(r.flush_lsn >= %s::pg_catalog.pg_lsn, false) AS flushed
FROM pg_catalog.pg_stat_replication AS r
WHERE
    (r.state IS NULL OR r.state IN ('catchup', 'streaming'))
    AND coalesce(r.application_name, '') NOT IN ('pg_basebackup', 'pg_receivewal')
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_replication_slots AS s
        WHERE s.active_pid = r.pid AND s.slot_type = 'logical'
    )
ORDER BY 1
"""

_SECONDS_BETWEEN_LOOKS = 0.05


@dataclass(frozen=True, slots=True)
class Server:
    """A server; system identifier and timeline are None where the role may not know them."""

    in_recovery: bool
    system_identifier: int | None
    timeline: int | None


class Durability(StrEnum):
    """Who has flushed what was read."""

    NO_STANDBY = "no standby follows this server"
    FLUSHED = "flushed by each standby"
    UNKNOWN = "unknown, as this role may not see what the standbys have flushed"
    STANDBY = "unknown, as this server is a standby and does not see what others have flushed"


def identify_server(conn: Connection) -> Server:
    """Look at the server; ``conn`` is in autocommit, or in a transaction."""
    try:
        with looking_up(conn):
            (found,) = conn.execute(_IDENTIFY).fetchall()
    except psycopg.errors.InsufficientPrivilege:
        (found,) = conn.execute("SELECT pg_catalog.pg_is_in_recovery() AS in_recovery").fetchall()
        return Server(found["in_recovery"], None, None)
    written = found["written_timeline"]
    timeline = int(written, 16) if written else found["replayed_timeline"]
    # The function gives the 64 bits as a signed number.
    return Server(found["in_recovery"], found["system_identifier"] % 2**64, timeline)


def wait_for_standbys(conn: Connection, server: Server, seconds: float) -> Durability:
    """Wait until each connected standby has flushed what was read before from this server.

    Args:
        conn: in autocommit; each look is a transaction of its own.
        server: as it is.
        seconds: how long to wait.

    Raises:
        RefusedError: a standby has not flushed it in this time.
    """
    if server.in_recovery:
        return Durability.STANDBY
    goal = _wait_for_flush(conn)
    deadline = time.monotonic() + seconds
    while True:
        with looking_up(conn):
            standbys = conn.execute(_STANDBYS, (goal,)).fetchall()
        if any(standby["hidden"] for standby in standbys):
            return Durability.UNKNOWN
        late = [standby["name"] for standby in standbys if not standby["flushed"]]
        if not late:
            return Durability.FLUSHED if standbys else Durability.NO_STANDBY
        if time.monotonic() > deadline:
            raise RefusedError(
                f"standby {', '.join(late)} has not flushed the log up to {goal} in {seconds:g} s; "
                "nothing was signed, as a failover to it would lose what was. "
                "Look at pg_stat_replication; wait longer with --standby-timeout, or sign "
                "nevertheless with --no-wait-standby."
            )
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _wait_for_flush(conn: Connection) -> str:
    """Wait until this server itself has flushed what was committed; gives up to where."""
    with looking_up(conn):
        (wanted,) = conn.execute(_INSERTED).fetchall()
    deadline = time.monotonic() + float(wanted["seconds"])
    while True:
        with looking_up(conn):
            (found,) = conn.execute(_FLUSHED, (wanted["inserted"],)).fetchall()
        if found["reached"] or time.monotonic() > deadline:
            return str(found["flushed"])
        time.sleep(_SECONDS_BETWEEN_LOOKS)
