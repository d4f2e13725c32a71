"""The command that copies the log out of the database."""
# ruff: noqa: PLC0415

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from step_audit.cli.connecting import connected
from step_audit.cli.new_files import new_file
from step_audit.cli.options import Dsn, Schema, Verbose
from step_audit.cli.output import say
from step_audit.cli.render import HistoryFormat, write_rows
from step_audit.errors import NotProvedError
from step_audit.signals import telling

_MAX_BIGINT = 2**63 - 1


class ExportFormat(StrEnum):
    """How the log is written."""

    JSONL = "jsonl"
    CSV = "csv"


def export(
    after_leaf: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=_MAX_BIGINT,
            metavar="N",
            help="Only what comes behind this leaf, the last of the export before.",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, max=_MAX_BIGINT, help="How many leaves at most.")
    ] = None,
    form: Annotated[ExportFormat, typer.Option("--format", help="How to write it.")] = (
        ExportFormat.JSONL
    ),
    out: Annotated[
        Path | None, typer.Option(help="A new file, instead of standard output.")
    ] = None,
    dsn: Dsn = None,
    schema: Schema = None,
    verbose: Verbose = False,
) -> None:
    """Write the sealed log in its order, each leaf with its record, for a SIEM or a warehouse."""
    from step_audit.database import find_schema, transaction
    from step_audit.read.export import check_start, iterate_log

    first = -1 if after_leaf is None else after_leaf
    done = _Counted(first)
    with connected(dsn) as conn, transaction(conn):
        schema = schema or find_schema(conn)
        check_start(conn, schema, first)
        with closing(iterate_log(conn, schema, first, limit)) as rows, telling(done.stopped(out)):
            _write(done.counting(rows), form, out)
    say(done.summary(), err=out is None)
    if done.missing:
        raise NotProvedError(
            f"{done.missing} records are missing, and nothing accounts for them: they are exported "
            "with the state 'missing'. 'step-audit verify' tells what else is."
        )


def _write(rows: Iterable[dict[str, Any]], form: ExportFormat, out: Path | None) -> None:
    if out is None:
        _write_rows(rows, form, sys.stdout)
        return
    rows = iter(rows)
    found = next(rows, None)
    # Where there is nothing new, there is no new file.
    if found is not None:
        with new_file(out) as file:
            text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
            _write_rows(_prepended(found, rows), form, text)
            text.detach()


def _prepended(first: dict[str, Any], rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield first
    yield from rows


def _write_rows(rows: Iterable[dict[str, Any]], form: ExportFormat, out: TextIO) -> None:
    from step_audit.read.export import COLUMNS

    write_rows(rows, HistoryFormat(form.value), out, COLUMNS)


class _Counted:
    """How far the export is."""

    def __init__(self, last: int) -> None:
        self._before = self._last = last
        self.missing = 0

    def counting(self, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for row in rows:
            yield row
            self._last = row["leaf_index"]
            self.missing += row["state"] == "missing"

    def summary(self) -> str:
        """What was exported, and how to go on."""
        if self._last == self._before:
            after = f" behind leaf {self._last}" if self._last >= 0 else ""
            return f"nothing to export: the log has no leaf{after}"
        return (
            f"exported leaves {self._before + 1} to {self._last}; "
            f"go on with --after-leaf {self._last}"
        )

    def stopped(self, out: Path | None) -> Any:
        """What a signal leaves."""
        return lambda: (
            "no file was written" if out else f"leaves up to {self._last} were written, or none"
        )
