"""The plain column reads of a verification, and how a row that cannot be printed is read.

Names are qualified, operators written out; no function of a schema but pg_catalog can be reached.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import NamedTuple

import psycopg
from psycopg import sql

from step_audit.database import Connection
from step_audit.trust.jsonb import is_printable
from step_audit.trust.leaf import UNPRINTABLE
from step_audit.trust.verify.changes import OTHER_KINDS
from step_audit.trust.verify.copying import Row, copy_rows
from step_audit.trust.verify.tables import (
    ANOMALIES,
    AUDIT,
    LEAVES,
    OWN,
    SALTS,
    STEPS,
    TRANSITIONS,
    Place,
)

AUDIT_COLUMNS = sql.SQL(", ").join(sql.Identifier("a", column) for column in OWN[AUDIT])
_RECORD = sql.SQL(
    "l.leaf_index, l.kind, l.record_uuid, l.leaf_hash, s.salt, {audit}"
    ", t.workflow_step_uuid AS step_of_transition, t.from_state, t.to_state, "
    "t.created_at AS transition_created_at, {metadata}, p.task_uuid AS task_of_step"
)
_KIND, _METADATA = 1, 23

_JOINED = sql.SQL(
    "LEFT JOIN {transitions} AS t ON "
    "t.workflow_step_transition_uuid OPERATOR(pg_catalog.=) a.workflow_step_transition_uuid "
    "AND t.workflow_step_uuid OPERATOR(pg_catalog.=) a.workflow_step_uuid "
    "LEFT JOIN {steps} AS p ON p.workflow_step_uuid OPERATOR(pg_catalog.=) a.workflow_step_uuid "
)

_SEALED = sql.SQL(
    "SELECT {columns} FROM {leaves} AS l "
    "LEFT JOIN {salts} AS s ON s.leaf_index OPERATOR(pg_catalog.=) l.leaf_index "
    "LEFT JOIN {audit} AS a ON "
    "a.workflow_step_result_audit_uuid OPERATOR(pg_catalog.=) l.record_uuid "
    "{joined} WHERE {where}"
)

_UNSEALED = sql.SQL(
    "SELECT {columns} FROM {audit} AS a "
    "LEFT JOIN {leaves} AS l ON "
    "l.record_uuid OPERATOR(pg_catalog.=) a.workflow_step_result_audit_uuid "
    "LEFT JOIN {salts} AS s ON s.leaf_index OPERATOR(pg_catalog.=) l.leaf_index "
    "{joined} WHERE l.leaf_index IS NULL AND {where}"
)

# Changes and events are read by themselves.
_OF_RESULTS = (
    "l.kind OPERATOR(pg_catalog.<>) ALL "
    f"('{{{{{','.join(OTHER_KINDS)}}}}}'::pg_catalog.text[]) AND "
)
_LEAVES_BETWEEN = sql.SQL(
    _OF_RESULTS + "l.leaf_index OPERATOR(pg_catalog.>=) {}::pg_catalog.int8 "
    "AND l.leaf_index OPERATOR(pg_catalog.<) {}::pg_catalog.int8"
)
_LEAVES_OF = sql.SQL(
    _OF_RESULTS + "l.leaf_index OPERATOR(pg_catalog.=) ANY ({}::pg_catalog.int8[])"
)
_AUDIT_ROWS_OF = sql.SQL(
    "a.workflow_step_result_audit_uuid OPERATOR(pg_catalog.=) ANY ({}::pg_catalog.uuid[])"
)

# For one that cannot be printed; a seal wrote down the same.
_SIZE_AND_HASH = {
    False: sql.SQL(
        "pg_catalog.json_build_array("
        "pg_catalog.pg_column_size(pg_catalog.jsonb_build_array(t.metadata)), "
        "pg_catalog.jsonb_hash_extended(t.metadata, 0::pg_catalog.int8))"
    ),
    True: sql.SQL(
        "pg_catalog.json_build_array("
        "pg_catalog.pg_column_size(pg_catalog.jsonb_build_array(t.metadata::pg_catalog.jsonb)), "
        "pg_catalog.jsonb_hash_extended(t.metadata::pg_catalog.jsonb, 0::pg_catalog.int8))"
    ),
}
_PRINTED = sql.SQL("t.metadata")

_UNPRINTABLE = (
    psycopg.errors.ProgramLimitExceeded,
    psycopg.errors.OutOfMemory,
    psycopg.errors.InternalError_,
)

# What jsonb makes of json that it cannot hold, besides.
_UNHELD = (
    *_UNPRINTABLE,
    psycopg.DataError,
    psycopg.errors.FeatureNotSupported,
    psycopg.errors.StatementTooComplex,
)

# Records that are looked at together where one among more of them cannot be printed.
_TOGETHER = 64


class Read(NamedTuple):
    """A row as :meth:`step_audit.trust.verify.records.Examiner.examine` takes it."""

    row: Row
    is_printed: bool = True
    size_and_hash: bytes | None = None


def sealed_records(conn: Connection, place: Place, first: int, until: int) -> Generator[Read]:
    """The rows of the leaves from ``first``, before ``until``."""
    is_json = place.is_json
    unprinted: list[int] = []
    for read in _sealed_rows(conn, place, first, until):
        kind, metadata = read.row[_KIND], read.row[_METADATA]
        if (
            is_json
            and read.is_printed
            and kind == UNPRINTABLE.encode()
            and not is_printable((metadata or b"null").decode())
        ):
            unprinted.append(int(read.row[0] or 0))
        else:
            yield read
    for index in dict.fromkeys(unprinted):
        yield from _read_with_size(conn, place, index)


def _sealed_rows(conn: Connection, place: Place, first: int, until: int) -> Generator[Read]:
    where = _LEAVES_BETWEEN.format(sql.Literal(first), sql.Literal(until))
    try:
        query = _compose(_SEALED, place, _PRINTED, where)
        with conn.transaction(), closing(copy_rows(conn, query)) as rows:
            yield from map(Read, rows)
    except _UNPRINTABLE:
        # All again: one that came may have a second transition, which did not.
        yield from _read_carefully(conn, place, _SEALED, _LEAVES_OF, range(first, until))


def _read_with_size(conn: Connection, place: Place, index: int) -> Generator[Read]:
    """The rows of a leaf whose metadata is json that is printed, but cannot be as jsonb."""
    where = _LEAVES_OF.format(sql.Literal([index]))
    both = sql.SQL("{}, {} AS size_and_hash").format(_PRINTED, _SIZE_AND_HASH[True])
    try:
        with conn.transaction():
            rows = list(copy_rows(conn, _compose(_SEALED, place, both, where)))
    except _UNHELD:
        for row in list(copy_rows(conn, _compose(_SEALED, place, _PRINTED, where))):
            yield Read(row, size_and_hash=b"")
        return
    for row in rows:
        size_and_hash = row.pop(_METADATA + 1)
        yield Read(row, size_and_hash=size_and_hash)


def unsealed_keys(conn: Connection, place: Place) -> Generator[bytes]:
    """The keys of the audit rows without a leaf."""
    query = sql.SQL(
        "SELECT a.workflow_step_result_audit_uuid FROM {} AS a LEFT JOIN {} AS l ON "
        "l.record_uuid OPERATOR(pg_catalog.=) a.workflow_step_result_audit_uuid "
        "WHERE l.leaf_index IS NULL"
    ).format(place[AUDIT].source, place[LEAVES].source)
    with closing(copy_rows(conn, query)) as rows:
        for row in rows:
            yield row[0] or b""


def unsealed_records(conn: Connection, place: Place, keys: list[str]) -> Generator[Read]:
    """The rows of audit rows without a leaf."""
    try:
        where = _AUDIT_ROWS_OF.format(sql.Literal(keys))
        query = _compose(_UNSEALED, place, _PRINTED, where)
        with conn.transaction(), closing(copy_rows(conn, query)) as rows:
            yield from map(Read, rows)
    except _UNPRINTABLE:
        yield from _read_carefully(conn, place, _UNSEALED, _AUDIT_ROWS_OF, keys)


def _compose(
    template: sql.SQL, place: Place, metadata: sql.Composable, where: sql.Composable
) -> sql.Composable:
    tables = {
        "leaves": place[LEAVES].source,
        "salts": place[SALTS].source,
        "audit": place[AUDIT].source,
        "transitions": place[TRANSITIONS].source,
        "steps": place[STEPS].source,
    }
    return template.format(
        columns=_RECORD.format(audit=AUDIT_COLUMNS, metadata=metadata),
        joined=_JOINED.format(**tables),
        where=where,
        **tables,
    )


def _read_carefully(
    conn: Connection,
    place: Place,
    template: sql.SQL,
    condition: sql.SQL,
    keys: Sequence[int] | Sequence[str],
) -> Generator[Read]:
    """The rows of some keys, few together; one by one where one of these cannot be printed.

    To try to print one takes seconds: so it is tried twice and not at each step of a search.
    """
    is_json = place.is_json
    for start in range(0, len(keys), _TOGETHER):
        some = list(keys[start : start + _TOGETHER])
        for each in [some, *([key] for key in some)]:
            where = condition.format(sql.Literal(each))
            try:
                with conn.transaction():
                    rows = list(copy_rows(conn, _compose(template, place, _PRINTED, where)))
            except _UNPRINTABLE:
                if each is not some:
                    query = _compose(template, place, _SIZE_AND_HASH[is_json], where)
                    for row in list(copy_rows(conn, query)):
                        yield Read(row, is_printed=False)
                continue
            yield from map(Read, rows)
            if each is some:
                break


def sequential(conn: Connection) -> None:
    """Let the queries that follow in this subtransaction use no index: absence counts only then."""
    conn.execute(
        "SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; "
        "SET LOCAL enable_bitmapscan = off"
    )


def columns_of(
    conn: Connection,
    place: Place,
    name: str,
    *columns: str,
    where: sql.Composable | None = None,
    by_index: bool = False,
) -> Generator[Row]:
    """Columns of one table, by a sequential scan if not ``by_index``.

    Close it where its end may not be reached: it is in a transaction of its own.
    """
    with conn.transaction(force_rollback=True):
        if not by_index:
            sequential(conn)
        listed = sql.SQL(", ").join(map(sql.Identifier, columns))
        query = sql.SQL("SELECT {} FROM {} AS t").format(listed, place[name].source)
        if where is not None:
            query = sql.SQL("{} WHERE {}").format(query, where)
        with closing(copy_rows(conn, query)) as rows:
            yield from rows


def anomalies_between(conn: Connection, place: Place, first: int, until: int) -> Generator[Row]:
    """The anomalies of the records of a range of leaves."""
    return copy_rows(
        conn,
        sql.SQL(
            "SELECT n.workflow_step_result_audit_uuid, n.field, n.raw_value, n.reason "
            "FROM {} AS l JOIN {} AS n ON "
            "n.workflow_step_result_audit_uuid OPERATOR(pg_catalog.=) l.record_uuid "
            "WHERE l.leaf_index OPERATOR(pg_catalog.>=) {}::pg_catalog.int8 "
            "AND l.leaf_index OPERATOR(pg_catalog.<) {}::pg_catalog.int8"
        ).format(
            place[LEAVES].source, place[ANOMALIES].source, sql.Literal(first), sql.Literal(until)
        ),
    )


def anomalies_of(conn: Connection, place: Place, keys: list[str]) -> Generator[Row]:
    """The anomalies of some audit rows."""
    return copy_rows(
        conn,
        sql.SQL(
            "SELECT n.workflow_step_result_audit_uuid, n.field, n.raw_value, n.reason "
            "FROM {} AS n WHERE n.workflow_step_result_audit_uuid "
            "OPERATOR(pg_catalog.=) ANY ({}::pg_catalog.uuid[])"
        ).format(place[ANOMALIES].source, sql.Literal(keys)),
    )


def known_keys(conn: Connection, place: Place, keys: list[str]) -> set[str]:
    """Which of some keys of audit rows are there, or have a leaf."""
    found = set()
    for name, column in ((AUDIT, "workflow_step_result_audit_uuid"), (LEAVES, "record_uuid")):
        where = sql.SQL("t.{} OPERATOR(pg_catalog.=) ANY ({}::pg_catalog.uuid[])").format(
            sql.Identifier(column), sql.Literal(keys)
        )
        with closing(columns_of(conn, place, name, column, where=where, by_index=True)) as rows:
            found |= {(row[0] or b"").decode() for row in rows}
    return found


def audit_rows_behind(conn: Connection, place: Place, size: int) -> Generator[Row]:
    """The audit rows whose leaf is none of the first ``size``."""
    return copy_rows(
        conn,
        sql.SQL(
            "SELECT a.workflow_step_result_audit_uuid FROM {} AS a JOIN {} AS l ON "
            "a.workflow_step_result_audit_uuid OPERATOR(pg_catalog.=) l.record_uuid "
            "WHERE l.leaf_index OPERATOR(pg_catalog.<) 0::pg_catalog.int8 "
            "OR l.leaf_index OPERATOR(pg_catalog.>=) {}::pg_catalog.int8"
        ).format(place[AUDIT].source, place[LEAVES].source, sql.Literal(size)),
    )
