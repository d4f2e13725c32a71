"""The transaction of a verification: one snapshot behind locks, pinned settings, few rights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.pq import TransactionStatus

from step_audit.database import Connection
from step_audit.errors import RefusedError
from step_audit.trust.verify.reader import WHO, become, check_rights, refuse_power, step_down
from step_audit.trust.verify.tables import HOST, Place, Table, find_tables

SETTINGS = {
    # The first, as it changes how the names in the second are kept.
    "quote_all_identifiers": "off",
    "search_path": "pg_catalog, pg_temp",
    "client_encoding": "UTF8",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "xmlbinary": "base64",
    "row_security": "off",
    "constraint_exclusion": "off",
    "default_transaction_read_only": "off",
    "enable_hashjoin": "on",
    "enable_mergejoin": "on",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
"""What is pinned for the transaction, whatever role, database, or a login trigger have set."""

_TRANSACTION_TIMEOUT = 170000
_TRIES = 20

_LOCKABLE = """
SELECT c.oid
FROM pg_catalog.pg_class AS c
WHERE c.oid = ANY(%s) AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
"""

# The one reads the newest catalog, the other the snapshot's: they differ where a table was
# rewritten between the snapshot and the lock, and then looks empty.
_REWRITTEN = """
SELECT c.oid
FROM pg_catalog.pg_class AS c
WHERE
    c.oid OPERATOR(pg_catalog.=) ANY(%s)
    AND c.relkind OPERATOR(pg_catalog.=) 'r'
    AND c.relfilenode OPERATOR(pg_catalog.<>) pg_catalog.pg_relation_filenode(c.oid)
"""

_LOCKED = """
SELECT DISTINCT
    l.relation AS oid,
    -- By the newest catalog too: a partition may have been attached since.
    pg_catalog.pg_partition_root(l.relation)::pg_catalog.oid AS root
FROM pg_catalog.pg_locks AS l
WHERE
    l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()
    AND l.locktype OPERATOR(pg_catalog.=) 'relation'
    AND l.granted
    AND l.relation OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid
    -- By the newest catalog, as a concurrent build may have made the index since the snapshot.
    AND pg_catalog.pg_get_indexdef(l.relation) IS NULL
"""

_RELATED = """
SELECT c.oid FROM pg_catalog.pg_class AS c
WHERE c.oid OPERATOR(pg_catalog.=) ANY(%(oids)s)
UNION
SELECT i.indexrelid FROM pg_catalog.pg_index AS i
WHERE i.indrelid OPERATOR(pg_catalog.=) ANY(%(oids)s)
UNION
SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i
WHERE i.inhparent OPERATOR(pg_catalog.=) ANY(%(oids)s)
UNION
SELECT c.reltoastrelid FROM pg_catalog.pg_class AS c
WHERE c.oid OPERATOR(pg_catalog.=) ANY(%(oids)s)
"""


@dataclass(frozen=True)
class Session:
    """A transaction in which evidence is read.

    Attributes:
        conn: the connection.
        place: the tables.
        role: who reads, for the report.
        server_version: of the server.
        is_login: whether a new connection would have the same role.
        is_nested: whether it is inside a transaction of the caller's, whose isolation holds.
        remarks: for the report.
    """

    conn: Connection
    place: Place
    role: str
    server_version: str
    is_login: bool
    is_nested: bool
    locked_before: frozenset[int]
    started_at: datetime
    remarks: tuple[str, ...]

    def changed_settings(self) -> list[tuple[str, str, str]]:
        """Settings that are not as pinned any more: name, found, pinned."""
        return _changed_settings(self.conn)

    def strangers(self) -> set[int]:
        """Relations that were locked meanwhile and are none that is read, nor belong to one."""
        known = {table.oid for table in self.place.tables.values()}
        rows = self.conn.execute(_LOCKED).fetchall()
        locked = {row["oid"] for row in rows} - self.locked_before
        known |= {row["oid"] for row in rows if row["root"] in known}
        # Partitions of partitions, their indexes and TOAST tables.
        while True:
            rows = self.conn.execute(_RELATED, {"oids": sorted(known)}).fetchall()
            more = {row["oid"] for row in rows if row["oid"]} | known
            if more == known:
                return locked - known
            known = more


@contextmanager
def reading(
    conn: Connection, schema: str, snapshot: str | None = None, patience: str = "0"
) -> Iterator[Session]:
    """Read in one REPEATABLE READ READ ONLY snapshot, taken behind the locks of all that is read.

    Nothing is left behind in the session, which a pooler may share.

    Args:
        conn: a connection; in a transaction of its own the snapshot is that transaction's.
        schema: where step-audit is installed.
        snapshot: an exported one to read in.
        patience: how long to wait for a lock, 0 for as long as it takes.

    Raises:
        RefusedError: the role cannot read all of it, or nothing can be read there.
    """
    is_nested = conn.info.transaction_status != TransactionStatus.IDLE
    for attempt in range(_TRIES):
        with (
            suppress(_RewrittenError),
            _attempt(conn, schema, snapshot, is_nested, patience) as session,
        ):
            yield session
            return
        if is_nested or attempt == _TRIES - 1:
            break
    raise RefusedError(
        "a table was rewritten again and again while it was to be read; nothing was verified. "
        "Verify when the migration of the engine has ended."
    )


@contextmanager
def looking(conn: Connection, schema: str) -> Iterator[Place]:
    """Look at the catalog in a transaction that plans no query of the tables, and locks none.

    So nothing of an owner's has run in it, which could make the catalog's queries lie.

    Raises:
        RefusedError: the role cannot read all of it, or must not.
    """
    with conn.transaction(force_rollback=True):
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        _pin(conn, "0")
        (who,) = conn.execute(WHO).fetchall()
        place = find_tables(conn, schema)
        refuse_power(conn, place, who["powerful"])
        check_rights(conn, place, who["role_name"])
        yield place


class _RewrittenError(Exception):
    """A table was rewritten between the snapshot and the lock."""


@contextmanager
def _attempt(
    conn: Connection, schema: str, snapshot: str | None, is_nested: bool, patience: str
) -> Iterator[Session]:
    with conn.transaction(force_rollback=True):
        _pin(conn, patience)
        (who,) = conn.execute(WHO).fetchall()
        place = find_tables(conn, schema)
        refuse_power(conn, place, who["powerful"])
        reader, remark = step_down(conn, place, who["role_name"], who["is_superuser"])
        remarks = [remark] if remark else []
        check_rights(conn, place, who["role_name"])
        oids = [table.oid for table in place.tables.values()]
        lockable = {row["oid"] for row in conn.execute(_LOCKABLE, (oids,))}
        before = {row["oid"] for row in conn.execute(_LOCKED)} if is_nested else set()
        if is_nested:
            yield _begin(
                conn, place, lockable, who, frozenset(before), remarks, is_nested, patience
            )
            return
    with conn.transaction(force_rollback=True):
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        if snapshot is not None:
            conn.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(snapshot))
        _pin(conn, patience)
        if reader != who["role_name"]:
            become(conn, reader)
        yield _begin(conn, place, lockable, who, frozenset(), remarks, is_nested, patience)


def _begin(
    conn: Connection,
    place: Place,
    lockable: set[int],
    who: dict[str, Any],
    before: frozenset[int],
    remarks: list[str],
    is_nested: bool,
    patience: str,
) -> Session:
    tables = sorted(place.tables.values(), key=lambda table: table.oid)
    _lock(conn, [table for table in tables if table.oid in lockable])
    touched = [table for table in tables if table.oid not in lockable]
    for table in touched:
        _touch(conn, table)
    if touched:
        # An owner's code may have run when these were planned.
        _pin(conn, patience)
    if conn.execute(_REWRITTEN, ([table.oid for table in tables],)).fetchall():
        raise _RewrittenError
    # A name may have got to another table before it was locked.
    if find_tables(conn, place.schema) != place:
        raise _RewrittenError
    changed = _changed_settings(conn)
    if changed:
        name, found, pinned = changed[0]
        raise RefusedError(
            f"the setting {name} stays {found}, though it was set to {pinned}: what is read could "
            "be something else than what is stored; nothing was verified. Find out what sets it."
        )
    (now,) = conn.execute(
        "SELECT (pg_catalog.clock_timestamp() AT TIME ZONE 'UTC') AS utc"
    ).fetchall()
    return Session(
        conn,
        place,
        who["role_name"],
        who["server_version"],
        bool(who["is_login"]),
        is_nested,
        before,
        now["utc"],
        tuple(remarks),
    )


def _pin(conn: Connection, patience: str) -> None:
    settings = {**SETTINGS, "lock_timeout": patience}
    if conn.info.server_version >= _TRANSACTION_TIMEOUT:
        settings["transaction_timeout"] = "0"
    statements = [
        sql.SQL("SET LOCAL {} = {}").format(
            sql.Identifier(name),
            sql.SQL("pg_catalog, pg_temp") if name == "search_path" else sql.Literal(value),
        )
        for name, value in settings.items()
    ]
    conn.execute(sql.SQL("; ").join([*statements, sql.SQL("SET TRANSACTION READ ONLY")]))


def _changed_settings(conn: Connection) -> list[tuple[str, str, str]]:
    # No operator is in it, which a changed search_path could let another stand for.
    each = sql.SQL("pg_catalog.current_setting({})")
    stands = sql.SQL(", ").join(each.format(sql.Literal(name)) for name in SETTINGS)
    (row,) = conn.execute(sql.SQL("SELECT ARRAY[{}] AS settings").format(stands)).fetchall()
    return [
        (name, found, SETTINGS[name])
        for name, found in zip(SETTINGS, row["settings"], strict=True)
        if found != SETTINGS[name]
    ]


def _lock(conn: Connection, tables: list[Table]) -> None:
    if tables:
        names = sql.SQL(", ").join(table.source for table in tables)
        conn.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(names))


def _touch(conn: Connection, table: Table) -> None:
    """Lock a table of which the role has only columns: LOCK wants a right on all of it."""
    column = sql.Identifier(next(iter(HOST[table.name])))
    conn.execute(sql.SQL("SELECT {} FROM {} LIMIT 0").format(column, table.source))
