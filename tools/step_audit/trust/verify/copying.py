r"""Rows as COPY sends them: split at once where nothing is quoted, with care where something is.

The format is CSV with characters that no JSON text and no name has, so that hardly a row is quoted:
U+001F between the fields and U+001E as the quote. An empty field is NULL, an empty text is quoted.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, suppress
from selectors import EVENT_READ, EVENT_WRITE, BaseSelector, DefaultSelector

from psycopg import OperationalError, sql
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult

from step_audit.database import Connection

Row = list[bytes | None]

_BETWEEN = b"\x1f"
_QUOTE = b"\x1e"
_FORMAT = sql.SQL("TO STDOUT (FORMAT csv, DELIMITER E'\\x1f', QUOTE E'\\x1e', ENCODING 'UTF8')")


def copy_rows(conn: Connection, query: sql.Composable) -> Generator[Row]:
    """The rows of a query, each field the bytes of its text, None for NULL.

    Close it where its end may not be reached: that cancels the server's query.
    """
    statement = sql.SQL("COPY ({}) {}").format(query, _FORMAT).as_bytes(conn)
    with closing(_stream(conn, statement)) as pieces:
        yield from read_rows(pieces)


def _stream(conn: Connection, statement: bytes) -> Generator[memoryview]:
    """What the server sends, by libpq's own calls: psycopg's cost 2 microseconds a row more.

    None of them waits: no signal would be heeded meanwhile, and the server may never answer.
    """
    pgconn = conn.pgconn
    is_at_end = False
    with DefaultSelector() as answers:
        answers.register(pgconn.socket, EVENT_READ)
        try:
            _send(pgconn, statement)
            outcome = _next_result(pgconn, answers)
            if outcome and outcome.status == ExecStatus.COPY_OUT:
                while (piece := pgconn.get_copy_data(1))[0] >= 0:
                    if piece[0]:
                        yield piece[1]
                    else:
                        answers.select()
                        pgconn.consume_input()
                outcome = _next_result(pgconn, answers)
            _take_rest(pgconn, answers)
            is_at_end = True
        finally:
            if not is_at_end:
                _abandon(conn, answers)
    if outcome is None or outcome.status != ExecStatus.COMMAND_OK:
        raise error_from_result(outcome) if outcome else OperationalError("the connection is lost")


def _send(pgconn: PGconn, statement: bytes) -> None:
    pgconn.send_query(statement)
    with DefaultSelector() as both:
        both.register(pgconn.socket, EVENT_READ | EVENT_WRITE)
        while pgconn.flush():
            if any(events & EVENT_READ for _, events in both.select()):
                pgconn.consume_input()


def _next_result(pgconn: PGconn, answers: BaseSelector) -> PGresult | None:
    while pgconn.is_busy():
        answers.select()
        pgconn.consume_input()
    return pgconn.get_result()


def _take_rest(pgconn: PGconn, answers: BaseSelector) -> None:
    while result := _next_result(pgconn, answers):
        if result.status == ExecStatus.COPY_OUT:
            while (size := pgconn.get_copy_data(1)[0]) >= 0:
                if not size:
                    answers.select()
                    pgconn.consume_input()


def _abandon(conn: Connection, answers: BaseSelector) -> None:
    """Cancel the query, and take what is still on its way."""
    with suppress(OperationalError):
        conn.cancel_safe()
        _take_rest(conn.pgconn, answers)


def read_rows(data: Iterable[bytes | bytearray | memoryview]) -> Iterator[Row]:
    """The rows in what a server sends: it sends each row as one piece."""
    for piece in data:
        line = bytes(piece)
        if _QUOTE in line:
            yield _split_quoted(line)
        else:
            yield [field or None for field in line[:-1].split(_BETWEEN)]


def _split_quoted(line: bytes) -> Row:
    row: Row = []
    rest = line.removesuffix(b"\n")
    while True:
        if rest.startswith(_QUOTE):
            # A quote in a quoted field is doubled.
            end = rest.find(_QUOTE, 1)
            while rest[end + 1 : end + 2] == _QUOTE:
                end = rest.find(_QUOTE, end + 2)
            row.append(rest[1:end].replace(_QUOTE * 2, _QUOTE))
            rest = rest[end + 1 :]
            if not rest:
                return row
            rest = rest[1:]
        else:
            field, found, rest = rest.partition(_BETWEEN)
            row.append(field or None)
            if not found:
                return row
