"""Records, changes, operator actions or holds, as a table, JSON, JSON lines or CSV.

All but a history's table is written as the rows come, whatever their number. What only some of them
need is imported there, so that ``--help`` starts at once.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Any, TextIO

from step_audit.printing import printable, printable_json

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Row = dict[str, Any]

# Rows of a table that are laid out together; later ones are not made narrower.
_TOGETHER = 500

# What makes a spreadsheet run a cell, the signs in full width too; and the mark that takes that
# from it. A text that has the mark already gets another, so that to drop one gives each text again.
_RUN_BY_SPREADSHEETS = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
    *map(chr, (0xFF1D, 0xFF0B, 0xFF0D, 0xFF20)),
)
_AS_TEXT = "'"

# What is JSON text already. It starts with no formula: a minus is of a number.
_JSON = {"result", "result_after", "payload"}


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

_LIST_COLUMNS = _TABLE_COLUMNS | {"task_uuid": "task", "since": _SINCE}

_CHANGE_COLUMNS = {
    "recorded_at": "recorded at, UTC",
    "step_name": "step",
    "operation": "operation",
    "to_state": "state",
    "recorded_by": "recorded by",
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


_ALL_OF_A_HOLD = (
    "hold recorded_at recorded_by task_uuid correlation_id reason operator "
    "released_at released_by release_reason release_operator"
).split()


def write_history(rows: Sequence[Row], form: HistoryFormat, out: TextIO) -> None:
    """Write rows of :func:`step_audit.read.history.read_history` to ``out``."""
    if form is HistoryFormat.TABLE:
        columns = _TABLE_COLUMNS
        if any(map(_since, rows)):
            columns = columns | {"since": _SINCE}
            rows = [row | {"since": _since(row)} for row in rows]
        _write_table(rows, columns, "no audited results", out)
    else:
        from step_audit.read.audit import StepAuditWithResults

        write_rows(rows, form, out, _columns(StepAuditWithResults))


def write_audits(rows: Iterable[Row], form: HistoryFormat, out: TextIO) -> None:
    """Write rows of the SQL function ``list_step_audits`` to ``out``."""
    if form is HistoryFormat.TABLE:
        shown = (row | {"since": _since(row)} for row in rows)
        _write_table(shown, _LIST_COLUMNS, "no audited results", out)
    else:
        from step_audit.read.audit import StepAuditWithResults

        write_rows(rows, form, out, _columns(StepAuditWithResults))


def write_changes(rows: Iterable[Row], form: HistoryFormat, out: TextIO) -> None:
    """Write rows of the SQL function ``list_step_audit_changes`` to ``out``."""
    if form is HistoryFormat.TABLE:
        _write_table(rows, _CHANGE_COLUMNS, "no changes", out)
    else:
        from step_audit.read.changes import StepAuditChange

        write_rows(rows, form, out, _columns(StepAuditChange))


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
        from step_audit.read.actions import OperatorAction

        write_rows(rows, form, out, _columns(OperatorAction))


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
        write_rows(rows, form, out, _ALL_OF_A_HOLD)


def _listed(claims: dict[str, str] | None) -> str:
    return ", ".join(f"{name}: {claim}" for name, claim in (claims or {}).items())


def _newest(told: list[Row]) -> str:
    if not told:
        return ""
    more = f" and {len(told) - 1} more" if told[1:] else ""
    return f"{told[0]['operator'] or '(erased)'}{more}"


def _columns(record: type[DataclassInstance]) -> list[str]:
    """The columns of the rows that such a record is made of."""
    return [field.name.removesuffix("_json") for field in fields(record)]


def write_rows(
    rows: Iterable[Row], form: HistoryFormat, out: TextIO, columns: Sequence[str]
) -> None:
    """Write rows for programs: as JSON, JSON lines or CSV, of which a table is none."""
    match form:
        case HistoryFormat.JSON:
            separator = "["
            for row in rows:
                out.write(separator + _as_json(row))
                separator = ",\n "
            out.write("[]\n" if separator == "[" else "]\n")
        case HistoryFormat.JSONL:
            out.writelines(_as_json(row) + "\n" for row in rows)
        case HistoryFormat.CSV:
            writer = csv.writer(out)
            writer.writerow(columns)
            writer.writerows([csv_cell(name, row[name]) for name in columns] for row in rows)


def csv_cell(name: str, value: object) -> str:
    """A cell as text; a text that a spreadsheet would run has an apostrophe before it."""
    text = _as_text(value)
    if isinstance(value, str) and name not in _JSON:
        looked_at = text.lstrip(" ")
        if looked_at.startswith((*_RUN_BY_SPREADSHEETS, _AS_TEXT)):
            return _AS_TEXT + text
    return text


def _as_json(row: Row) -> str:
    members = ", ".join(f'"{name}": {_json_value(name, row[name])}' for name in row)
    return printable_json(f"{{{members}}}")


def _json_value(name: str, value: object) -> str:
    if name in _JSON:
        # As it stands; on one line it says the same.
        return str(value or "null")
    if value is None or isinstance(value, bool | int | dict | list):
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(_as_text(value), ensure_ascii=False)


def _as_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _write_table(rows: Iterable[Row], columns: dict[str, str], nothing: str, out: TextIO) -> None:
    from rich.cells import cell_len

    remaining = ([_cell(row[name]) for name in columns] for row in rows)
    lines = list(islice(remaining, _TOGETHER))
    if not lines:
        out.write(f"{nothing}\n")
        return
    lines.insert(0, list(columns.values()))
    widths = [0] * len(columns)
    while lines:
        widths = [
            max(width, *map(cell_len, column))
            for width, column in zip(widths, zip(*lines, strict=True), strict=True)
        ]
        for line in lines:
            padded = (
                cell + " " * (width - cell_len(cell))
                for cell, width in zip(line, widths, strict=True)
            )
            out.write("  ".join(padded).rstrip() + "\n")
        lines = list(islice(remaining, _TOGETHER))


def _since(row: Row) -> str:
    """What became of the result after it was recorded."""
    changed = row["changes"] - row["deleted"]
    times = "changed" if changed == 1 else f"changed {changed} times"
    return ", ".join([*([times] if changed else []), *(["deleted"] if row["deleted"] else [])])


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="milliseconds")
    return printable(_as_text(value))
