"""A history as a table, JSON, JSON lines or CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TextIO

from step_audit.printing import printable, printable_json

Row = dict[str, Any]

# No table is so wide: on a narrow terminal lines wrap, but nothing is cut.
_WIDTH = 1000


class HistoryFormat(StrEnum):
    """How a history is written."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


_TABLE_COLUMNS = {
    "recorded_at": "recorded at, UTC",
    "step_name": "step",
    "success": "success",
    "elapsed_ms": "elapsed ms",
    "worker_uuid": "worker",
    "recorded_by": "recorded by",
}
_SINCE = "since then"


def write_history(rows: Sequence[Row], form: HistoryFormat, out: TextIO) -> None:
    """Write rows of :func:`step_audit.read.history.read_history` to ``out``."""
    match form:
        case HistoryFormat.JSON:
            out.write("[" + ",\n ".join(map(_as_json, rows)) + "]\n")
        case HistoryFormat.JSONL:
            out.writelines(_as_json(row) + "\n" for row in rows)
        case HistoryFormat.CSV:
            writer = csv.writer(out)
            writer.writerows(rows[:1])
            writer.writerows(map(_as_text, row.values()) for row in rows)
        case HistoryFormat.TABLE:
            _write_table(rows, out)


def _as_json(row: Row) -> str:
    members = ", ".join(f'"{name}": {_json_value(name, row[name])}' for name in row)
    return printable_json(f"{{{members}}}")


def _json_value(name: str, value: object) -> str:
    if name == "result":
        # As it stands; on one line it says the same.
        return str(value or "null")
    if value is None or isinstance(value, bool | int):
        return json.dumps(value)
    return json.dumps(_as_text(value), ensure_ascii=False)


def _as_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _write_table(rows: Sequence[Row], out: TextIO) -> None:
    from rich.console import Console  # noqa: PLC0415 (a command that prints no table starts faster)
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    since = [_SINCE] if any(map(_since, rows)) else []
    for heading in (*_TABLE_COLUMNS.values(), *since):
        table.add_column(heading, no_wrap=True)
    for row in rows:
        cells = [_cell(row[name]) for name in _TABLE_COLUMNS]
        table.add_row(*cells, *(_since(row) for _ in since))
    console = Console(file=out, width=_WIDTH, markup=False, emoji=False, highlight=False)
    with console.capture() as printed:
        console.print(table if rows else "no audited results")
    out.writelines(f"{line.rstrip()}\n" for line in printed.get().splitlines())


def _since(row: Row) -> str:
    """What became of the result after it was recorded."""
    changed = row["changes"] - row["deleted"]
    times = "changed" if changed == 1 else f"changed {changed} times"
    return ", ".join([*([times] if changed else []), *(["deleted"] if row["deleted"] else [])])


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="milliseconds")
    return printable(_as_text(value))
