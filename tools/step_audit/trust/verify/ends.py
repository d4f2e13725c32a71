"""Where the log ends that is looked at, however large the numbers in it are."""

from __future__ import annotations

from contextlib import closing
from uuid import UUID

from psycopg import sql

from step_audit.database import Connection
from step_audit.trust.verify.log import RANGE
from step_audit.trust.verify.queries import columns_of, sequential
from step_audit.trust.verify.report import Finding
from step_audit.trust.verify.tables import LEAVES, Place


def last_place(size: int, leaves: int) -> int:
    """Before which leaf index to look: up to the newest seal, and never far behind the leaves.

    One with a forged index, far behind the others, would make the log look endless.

    Args:
        size: leaves that the newest seal counts.
        leaves: how many there are.
    """
    return max(0, min(size, 2 * leaves + RANGE))


def unsealed_leaf(index: bytes | None, uuid: bytes | None, leaf: bytes | None) -> Finding:
    """A leaf behind what is looked at; the columns as COPY prints them."""
    return Finding(
        "unsealed leaf",
        workflow_step_result_audit_uuid=None if uuid is None else UUID(uuid.decode()),
        field=f"leaf {(index or b'').decode()}",
        stored=(leaf or b"").removeprefix(b"\\x").decode(),
    )


def find_end(conn: Connection, place: Place, size: int) -> tuple[int, list[Finding]]:
    """How many places of the log are looked at one by one, and the leaves that lie elsewhere."""
    source = place[LEAVES].source
    with conn.transaction(force_rollback=True):
        sequential(conn)
        (count,) = conn.execute(
            sql.SQL("SELECT pg_catalog.count(*) AS leaves FROM {} AS l").format(source)
        ).fetchall()
        until = last_place(size, int(count["leaves"]))
        (end,) = conn.execute(
            sql.SQL(
                "SELECT pg_catalog.max(l.leaf_index) AS highest FROM {} AS l "
                "WHERE l.leaf_index OPERATOR(pg_catalog.<) {}::pg_catalog.int8"
            ).format(source, sql.Literal(until))
        ).fetchall()
    end_of_log = 0 if end["highest"] is None else max(0, int(end["highest"]) + 1)
    where = sql.SQL(
        "t.leaf_index OPERATOR(pg_catalog.<) 0::pg_catalog.int8 "
        "OR t.leaf_index OPERATOR(pg_catalog.>=) {}::pg_catalog.int8"
    ).format(sql.Literal(end_of_log))
    columns = ("leaf_index", "record_uuid", "leaf_hash")
    with closing(columns_of(conn, place, LEAVES, *columns, where=where)) as rows:
        return end_of_log, [unsealed_leaf(index, uuid, leaf) for index, uuid, leaf in rows]
