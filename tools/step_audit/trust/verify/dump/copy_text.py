r"""Files of COPY text: which tables they hold, and their rows, each from one line.

Only what COPY writes is read: five control characters and the backslash stand there as escapes, and
``\N`` for NULL. Whatever else stands there was not written by pg_dump. Nor is anything else between
the rows of two tables than what ``pg_restore -a`` writes: whoever loads the files by psql runs it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from step_audit.errors import TrustError
from step_audit.trust.verify.copying import Row

# As pg_dump writes it: what has other characters is quoted.
_NAME = rb'(?:"(?:[^"]|"")+"|[a-z_][a-z0-9_]*)'
_HEADER = re.compile(
    rb"COPY (?:(?P<schema>%b)\.)?(?P<table>%b) \((?P<columns>%b(?:, %b)*)\) FROM stdin;"
    % (_NAME, _NAME, _NAME, _NAME)
)
_COLUMN = re.compile(_NAME)
_ENCODING = re.compile(rb"SET client_encoding = '(?P<name>[^']*)';")
# These change no row, whatever their values.
_SETTINGS = b"|".join(
    (
        b"statement_timeout",
        b"lock_timeout",
        b"idle_in_transaction_session_timeout",
        b"transaction_timeout",
        b"standard_conforming_strings",
        b"escape_string_warning",
        b"check_function_bodies",
        b"xmloption",
        b"client_min_messages",
        b"row_security",
        b"default_tablespace",
        b"default_table_access_method",
    )
)
_BETWEEN = re.compile(
    rb"|--[^\r\x00]*"
    rb"|SET (?:%b) = (?:\w+|'\w*');"
    rb"|SELECT pg_catalog\.set_config\('search_path', '', false\);"
    rb"|SELECT pg_catalog\.setval\('(?:[^'\\\r\x00]|'')+', -?\d+, (?:true|false)\);"
    rb"|\\(?:un)?restrict [A-Za-z0-9]+" % _SETTINGS
)
_ESCAPE = re.compile(rb"\\.?", re.DOTALL)
_ESCAPED = {
    b"\\b": b"\b",
    b"\\f": b"\f",
    b"\\n": b"\n",
    b"\\r": b"\r",
    b"\\t": b"\t",
    b"\\v": b"\v",
    b"\\\\": b"\\",
}
_UNESCAPED = re.compile(rb"[\x00\b\f\r\v]")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class Lines:
    """The lines of a file, without their ends, and at which of them the reader is."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.number = 0
        self._file = file

    def __iter__(self) -> Iterator[bytes]:
        """The lines that are still to be read."""
        for line in self._file:
            self.number += 1
            yield line.removesuffix(b"\n")

    def mangled(self, what: str) -> TrustError:
        """The error that the line is not as COPY writes it."""
        return TrustError(
            f"{self.path}, line {self.number}: {what}; nothing was verified. Was the file cut or "
            "edited? Write it anew by pg_restore -a -t TABLE -f FILE, in UTF-8."
        )


@dataclass
class Block:
    """The rows of a table in a file. They are to be read before the next block is asked for.

    Attributes:
        schema: of the table, as far as it is named.
        table: its name in the dump.
        columns: of each row.
        lines: of the file.
        line: of the header; the first row is the one behind.
        encoding: that the file says it is in.
    """

    schema: str
    table: str
    columns: tuple[str, ...]
    lines: Lines
    line: int
    encoding: str | None
    is_read: bool = False

    def rows(self) -> Iterator[Row]:
        """Each row, as many fields as there are columns, None for NULL.

        Raises:
            TrustError: something is not as COPY writes it.
        """
        if self.encoding != "UTF8":
            found = f"in {self.encoding}" if self.encoding else "in an encoding that is not told"
            raise self.lines.mangled(f"the rows are {found}, not in UTF8")
        for line in self._texts():
            row = self._split(line)
            if len(row) != len(self.columns):
                raise self.lines.mangled(f"it has {len(row)} fields, not {len(self.columns)}")
            yield row

    def skip(self) -> None:
        """Leave what was not read."""
        for _ in self._texts():
            pass

    def _texts(self) -> Iterator[bytes]:
        if self.is_read:
            return
        for line in self.lines:
            if line in {b"\\.", b"\\.\r"}:
                if line != b"\\.":
                    raise self.lines.mangled("it ends in CR LF")
                self.is_read = True
                return
            yield line
        raise self.lines.mangled(f"the file ends within the rows of {self.table}")

    def _split(self, line: bytes) -> Row:
        if _UNESCAPED.search(line):
            what = "it ends in CR LF" if line.endswith(b"\r") else "a control character is in it"
            raise self.lines.mangled(what)
        try:
            line.decode()
            return split_fields(line)
        except UnicodeDecodeError as error:
            raise self.lines.mangled("it is not in UTF-8") from error
        except KeyError as error:
            raise self.lines.mangled("a backslash in it is no escape of COPY's") from error


def split_fields(line: bytes) -> Row:
    r"""The fields of a line, without its end; ``\N`` is NULL.

    Raises:
        KeyError: a backslash begins no escape that COPY writes.
    """
    return [
        None if field == b"\\N" else _unescape(field) if b"\\" in field else field
        for field in line.split(b"\t")
    ]


def read_blocks(path: Path) -> Iterator[Block]:
    """The tables of a file, one after the other.

    Raises:
        TrustError: the file cannot be read, or ends within a table.
    """
    try:
        with path.open("rb") as file:
            yield from _blocks(Lines(path, file))
    except OSError as error:
        raise TrustError(
            f"{path} cannot be read: {error.strerror}; nothing was verified. Take it out of the "
            "folder, or make it readable."
        ) from error


def _blocks(lines: Lines) -> Iterator[Block]:
    encoding = None
    for line in lines:
        if lines.number == 1 and line.startswith(_UTF_16):
            raise lines.mangled("it is in UTF-16, as some shells write what they redirect")
        if line.endswith(b"\r"):
            raise lines.mangled("it ends in CR LF")
        if found := _ENCODING.fullmatch(line):
            encoding = found["name"].decode(errors="replace")
        elif found := _HEADER.fullmatch(line):
            block = Block(
                _name(found["schema"] or b""),
                _name(found["table"]),
                tuple(map(_name, _COLUMN.findall(found["columns"]))),
                lines,
                lines.number,
                encoding,
            )
            yield block
            block.skip()
        elif not _BETWEEN.fullmatch(line):
            raise lines.mangled("pg_restore -a writes no such line, and psql could run it")


def _name(identifier: bytes) -> str:
    text = identifier.decode(errors="replace")
    return text[1:-1].replace('""', '"') if text.startswith('"') else text


def _unescape(field: bytes) -> bytes:
    return _ESCAPE.sub(lambda escape: _ESCAPED[escape[0]], field)
