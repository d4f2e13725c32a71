"""What can be done to a file of a dump, and which of it is evidence."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from random import Random

from step_audit.trust.verify.tables import DELETED_STEPS, OWN, STEPS, TRANSITIONS
from step_audit.trust.verify.tables import HOST as HOST_TABLES
from tests.support.host import FAILED, OK

Deed = Callable[[bytes, Random], bytes | None]
"""Gives the file as it is then, None where it is gone."""

Rows = Counter[tuple[bytes, ...]]


def evidence(table: str, text: bytes | None, steps: frozenset[bytes]) -> Rows | None:
    """What of a file is evidence, as it is written there; None where that cannot be told.

    Of the transitions it is the worker results; of the steps, those that have results. Of deleted
    steps it is nothing that can be told row by row.
    """
    if table == DELETED_STEPS:
        return Rows()
    lines = (text or b"").split(b"\n")
    headers = [at for at, line in enumerate(lines) if line.startswith(b"COPY ")]
    if len(headers) != 1 or b"\\." not in lines[headers[0] :]:
        return None
    at = headers[0]
    columns = lines[at].partition(b"(")[2].partition(b")")[0].split(b", ")
    needed = [name.encode() for name in OWN.get(table) or HOST_TABLES[table]]
    if table == TRANSITIONS:
        needed.remove(b"sort_key")
    if not set(needed) <= set(columns):
        return None
    rows: Rows = Counter()
    for line in lines[at + 1 : lines.index(b"\\.", at)]:
        fields = line.split(b"\t")
        if len(fields) != len(columns):
            return None
        row = dict(zip(columns, fields, strict=True))
        if table == TRANSITIONS:
            if row[b"to_state"] not in {OK.encode(), FAILED.encode()}:
                continue
            row[b"metadata"] = _as_json(row[b"metadata"])
        if table == STEPS and row[b"workflow_step_uuid"] not in steps:
            continue
        rows[tuple(row[name] for name in needed)] += 1
    return rows


def _as_json(field: bytes) -> bytes:
    """What a document says: where it has spaces is no evidence."""
    try:
        document = json.loads(field.replace(b"\\\\", b"\\"), parse_float=Decimal)
    except ValueError:
        return field
    return repr(document).encode()


def rows_of(text: bytes) -> tuple[list[bytes], int, int]:
    """The lines of a file, and which of them are rows."""
    lines = text.splitlines(keepends=True)
    first = next(at for at, line in enumerate(lines) if line.startswith(b"COPY")) + 1
    return lines, first, lines.index(b"\\.\n")


def _on_lines(change: Callable[[list[bytes], int, int, Random], None]) -> Deed:
    def do(text: bytes, chance: Random) -> bytes:
        lines, first, end = rows_of(text)
        change(lines, chance.randrange(first, end), chance.randrange(first, end), chance)
        return b"".join(lines)

    return do


def _on_fields(change: Callable[[list[bytes], int, Random], None]) -> Deed:
    def on_lines(lines: list[bytes], at: int, _: int, chance: Random) -> None:
        fields = lines[at].removesuffix(b"\n").split(b"\t")
        change(fields, chance.randrange(len(fields)), chance)
        lines[at] = b"\t".join(fields) + b"\n"

    return _on_lines(on_lines)


def _in_rows(change: Callable[[bytes, Random], bytes]) -> Deed:
    """Something is done to a byte of a row."""

    def on_lines(lines: list[bytes], at: int, _: int, chance: Random) -> None:
        place = chance.randrange(len(lines[at]))
        lines[at] = (
            lines[at][:place]
            + change(lines[at][place : place + 1], chance)
            + (lines[at][place + 1 :])
        )

    return _on_lines(on_lines)


def _swap(lines: list[bytes], at: int, other: int, _: Random) -> None:
    lines[at], lines[other] = lines[other], lines[at]


def _set(value: bytes) -> Callable[[list[bytes], int, Random], None]:
    return lambda fields, at, _: fields.__setitem__(at, value)


def _flip_header(text: bytes, chance: Random) -> bytes:
    first = text.index(b"COPY ")
    at = chance.randrange(first, text.index(b"\n", first))
    return text[:at] + bytes([text[at] ^ 1 << chance.randrange(7)]) + text[at + 1 :]


def _swap_columns(text: bytes, chance: Random) -> bytes:
    header = text[text.index(b"COPY ") : text.index(b" FROM stdin")]
    names = header.partition(b"(")[2].removesuffix(b")").split(b", ")
    at, other = chance.sample(range(len(names)), 2)
    names[at], names[other] = names[other], names[at]
    return text.replace(header, header.partition(b"(")[0] + b"(" + b", ".join(names) + b")")


def _cut_within(text: bytes, chance: Random) -> bytes:
    at = chance.randrange(len(text))
    return text[:at] + text[at + chance.randrange(1, 400) :]


DEEDS: dict[str, Deed] = {
    "cut": lambda text, chance: text[: chance.randrange(len(text))],
    "cut within": _cut_within,
    "bit flipped": _in_rows(lambda byte, chance: bytes([byte[0] ^ 1 << chance.randrange(8)])),
    "byte changed": _in_rows(lambda _, chance: chance.randbytes(1)),
    "digit changed": _in_rows(lambda _, chance: chance.choice([b"0", b"1", b"9", b"a", b"f"])),
    "byte taken away": _in_rows(lambda _, chance: b""),
    "zero put in": _in_rows(lambda byte, _: b"0" + byte),
    "backslash put in": _in_rows(lambda byte, _: b"\\" + byte),
    "CR put in": _in_rows(lambda byte, _: b"\r" + byte),
    "rows swapped": _on_lines(_swap),
    "row doubled": _on_lines(lambda lines, at, to, _: lines.insert(to, lines[at])),
    "row dropped": _on_lines(lambda lines, at, to, _: lines.__delitem__(at)),
    "rows ended early": _on_lines(lambda lines, at, to, _: lines.insert(at, b"\\.\n")),
    "empty line": _on_lines(lambda lines, at, to, _: lines.insert(at, b"\n")),
    "row of NULL": _on_lines(lambda lines, at, to, _: lines.__setitem__(at, b"\\N\n")),
    "field more": _on_fields(lambda fields, at, _: fields.insert(at, fields[at])),
    "field less": _on_fields(lambda fields, at, _: fields.__delitem__(at)),
    "field NULL": _on_fields(_set(b"\\N")),
    "field empty": _on_fields(_set(b"")),
    "header changed": _flip_header,
    "columns swapped": _swap_columns,
    "CR LF": lambda text, _: text.replace(b"\n", b"\r\n"),
    "UTF-16": lambda text, _: text.decode().encode("utf-16"),
    "no header": lambda text, _: text.replace(b"COPY ", b"-- COPY "),
    "empty": lambda text, _: b"",
    "missing": lambda text, _: None,
}
