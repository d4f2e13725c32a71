"""A history, operator actions or holds, as a table, JSON, JSON lines or CSV."""

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


_ACTION_COLUMNS = {
    "recorded_at": "recorded at, UTC",
    "step_name": "step",
    "action": "action",
    "from_state": "from",
    "recorded_by": "recorded by",
    "claims": "claims",
    "told": "attributed to",
    "workflow_step_transition_uuid": "transition",
}

_HOLD_COLUMNS = {
    "recorded_at": "recorded at, UTC",
    "subject": "held",
    "reason": "reason",
    "operator": "operator",
    "recorded_by": "recorded by",
    "released_at": "released at, UTC",
    "hold": "hold",
}


def write_history(rows: Sequence[Row], form: HistoryFormat, out: TextIO) -> None:
    """Write rows of :func:`step_audit.read.history.read_history` to ``out``."""
    if form is HistoryFormat.TABLE:
        columns = _TABLE_COLUMNS
        if any(map(_since, rows)):
            columns = columns | {"since": _SINCE}
            rows = [row | {"since": _since(row)} for row in rows]
        _write_table(rows, columns, "no audited results", out)
    else:
        _write_rows(rows, form, out)


def write_actions(rows: Sequence[Row], form: HistoryFormat, out: TextIO) -> None:
    """Write rows of the SQL function ``list_operator_actions`` to ``out``.

    A table has of several attributions the newest operator, and how many there are more.
    """
    if form is HistoryFormat.TABLE:
        shown = [
            row | {"claims": _listed(row["claims"]), "told": _newest(row["attributions"])}
            for row in rows
        ]
        _write_table(shown, _ACTION_COLUMNS, "no operator actions", out)
    else:
        _write_rows(rows, form, out)


def write_holds(rows: Sequence[Row], form: HistoryFormat, out: TextIO) -> None:
    """Write rows of the SQL function ``list_step_audit_holds`` to ``out``."""
    if form is HistoryFormat.TABLE:
        shown = [
            row
            | {
                "subject": f"task {row['task_uuid']}"
                if row["task_uuid"]
                else f"correlation id {row['correlation_id']}"
            }
            for row in rows
        ]
        columns = dict(_HOLD_COLUMNS)
        if not any(row["released_at"] for row in rows):
            del columns["released_at"]
        _write_table(shown, columns, "no holds", out)
    else:
        _write_rows(rows, form, out)


def _listed(claims: dict[str, str] | None) -> str:
    return ", ".join(f"{name}: {claim}" for name, claim in (claims or {}).items())


def _newest(told: list[Row]) -> str:
    if not told:
        return ""
    more = f" and {len(told) - 1} more" if told[1:] else ""
    return f"{told[0]['operator'] or '(erased)'}{more}"


def _write_rows(rows: Sequence[Row], form: HistoryFormat, out: TextIO) -> None:
    match form:
        case HistoryFormat.JSON:
            out.write("[" + ",\n ".join(map(_as_json, rows)) + "]\n")
        case HistoryFormat.JSONL:
            out.writelines(_as_json(row) + "\n" for row in rows)
        case HistoryFormat.CSV:
            writer = csv.writer(out)
            writer.writerows(rows[:1])
            writer.writerows(map(_as_text, row.values()) for row in rows)


def _as_json(row: Row) -> str:
    members = ", ".join(f'"{name}": {_json_value(name, row[name])}' for name in row)
    return printable_json(f"{{{members}}}")


def _json_value(name: str, value: object) -> str:
    if name == "result":
        # As it stands; on one line it says the same.
        return str(value or "null")
    if value is None or isinstance(value, bool | int | dict | list):
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(_as_text(value), ensure_ascii=False)


def _as_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _write_table(rows: Sequence[Row], columns: dict[str, str], nothing: str, out: TextIO) -> None:
    from rich.console import Console  # noqa: PLC0415 (a command that prints no table starts faster)
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    for heading in columns.values():
        table.add_column(heading, no_wrap=True)
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in columns))
    console = Console(file=out, width=_WIDTH, markup=False, emoji=False, highlight=False)
    with console.capture() as printed:
        console.print(table if rows else nothing)
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
