r"""Rows as COPY sends them: split at once where nothing is quoted, with care where something is.

The format is CSV with characters that no JSON text and no name has, so that hardly a row is quoted:
U+001F between the fields and U+001E as the quote. An empty field is NULL, an empty text is quoted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from psycopg import sql

from step_audit.database import Connection

Row = list[bytes | None]

_BETWEEN = b"\x1f"
_QUOTE = b"\x1e"
_FORMAT = sql.SQL("TO STDOUT (FORMAT csv, DELIMITER E'\\x1f', QUOTE E'\\x1e', ENCODING 'UTF8')")


def copy_rows(conn: Connection, query: sql.Composable) -> Iterator[Row]:
    """The rows of a query, each field the bytes of its text, None for NULL."""
    with conn.cursor().copy(sql.SQL("COPY ({}) {}").format(query, _FORMAT)) as copy:
        yield from read_rows(copy)


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


_ESCAPES = {
    b"\\b": b"\b",
    b"\\f": b"\f",
    b"\\n": b"\n",
    b"\\r": b"\r",
    b"\\t": b"\t",
    b"\\v": b"\v",
    b"\\\\": b"\\",
}


def read_text_line(line: bytes) -> Row:
    r"""The fields of a line in COPY's text format, without its end; ``\N`` is NULL."""
    return [
        None if field == b"\\N" else _unescape(field) if b"\\" in field else field
        for field in line.split(b"\t")
    ]


def _unescape(field: bytes) -> bytes:
    head, *parts = field.split(b"\\")
    found = [head]
    after_backslash = False
    for part in parts:
        if after_backslash:
            # The backslash before was the escape of this one.
            found.append(part)
            after_backslash = False
        elif not part:
            found.append(b"\\")
            after_backslash = True
        else:
            found.append(_ESCAPES.get(b"\\" + part[:1], part[:1]) + part[1:])
    return b"".join(found)
