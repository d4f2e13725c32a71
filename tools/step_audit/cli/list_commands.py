"""Commands that list what filters let through: results, and what was changed of them.

Each imports what it uses, so that ``--help`` starts at once.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import typer

from step_audit.cli.connecting import connected
from step_audit.cli.options import Dsn, Schema, Verbose
from step_audit.cli.output import say
from step_audit.cli.render import HistoryFormat, write_audits, write_changes

_MAX_BIGINT = 2**63 - 1
# The server is asked for one more.
_MAX_LIMIT = 2**31 - 2


class Operation(StrEnum):
    """What ended a version of a result, or brought one."""

    UPDATE = "update"
    DELETE = "delete"
    TRUNCATE = "truncate"
    INSERT = "insert"


def read_time(text: str) -> datetime:
    """A time as ISO 8601 has it; without a zone in UTC.

    Raises:
        ValueError: it is none.
    """
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _parse_time(text: str) -> datetime:
    try:
        return read_time(text)
    except ValueError:
        raise typer.BadParameter(
            f"'{text}' is no time; write it like 2026-11-01, 2026-11-01T12:00 (in UTC) or "
            "2026-11-01T12:00+01:00"
        ) from None


_Step = Annotated[UUID | None, typer.Option(metavar="STEP_UUID", help="Of this step.")]
_Task = Annotated[UUID | None, typer.Option(metavar="TASK_UUID", help="Of this task's steps.")]
_From = Annotated[
    datetime | None,
    typer.Option(
        "--from",
        metavar="TIME",
        parser=_parse_time,
        help="Then or later; a time without a zone is UTC.",
    ),
]
_Until = Annotated[
    datetime | None,
    typer.Option("--until", metavar="TIME", parser=_parse_time, help="Before then."),
]
_Limit = Annotated[int, typer.Option(min=1, max=_MAX_LIMIT, help="How many at most.")]
_All = Annotated[bool, typer.Option("--all", help="All of them, whatever their number.")]
_Form = Annotated[HistoryFormat, typer.Option("--format", help="How to print them.")]


def list_results(
    step: _Step = None,
    task: _Task = None,
    worker: Annotated[UUID | None, typer.Option(metavar="UUID", help="By this worker.")] = None,
    correlation: Annotated[
        UUID | None, typer.Option(metavar="UUID", help="Under this correlation id.")
    ] = None,
    step_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of steps of this name.")
    ] = None,
    success: Annotated[
        bool | None,
        typer.Option("--success/--failure", help="Only those.", show_default=False),
    ] = None,
    changed: Annotated[
        bool | None,
        typer.Option(
            "--changed/--unchanged",
            help="Of which another version stood before, or none.",
            show_default=False,
        ),
    ] = None,
    deleted: Annotated[
        bool | None,
        typer.Option(
            "--deleted/--standing", help="That the engine deleted, or has.", show_default=False
        ),
    ] = None,
    manual: Annotated[
        bool | None,
        typer.Option(
            "--manual/--not-manual",
            help="Whose step an operator completed or resolved by hand, or nobody.",
            show_default=False,
        ),
    ] = None,
    since: _From = None,
    until: _Until = None,
    min_ms: Annotated[
        int | None,
        typer.Option(min=0, max=_MAX_BIGINT, help="That took at least so many milliseconds."),
    ] = None,
    max_ms: Annotated[
        int | None, typer.Option(min=0, max=_MAX_BIGINT, help="That took no more.")
    ] = None,
    limit: _Limit = 100,
    everything: _All = False,
    form: _Form = HistoryFormat.TABLE,
    dsn: Dsn = None,
    schema: Schema = None,
    verbose: Verbose = False,
) -> None:
    """Print the audited results that all given filters let through, newest first."""
    from step_audit.database import find_schema, transaction
    from step_audit.read.history import check_subject, iterate_audits

    filters: dict[str, object] = {
        "p_step_uuid": step,
        "p_task_uuid": task,
        "p_worker_uuid": worker,
        "p_correlation_id": correlation,
        "p_step_name": step_name,
        "p_success": success,
        "p_changed": changed,
        "p_deleted": deleted,
        "p_manual": manual,
        "p_recorded_from": since,
        "p_recorded_until": until,
        "p_min_execution_time_ms": min_ms,
        "p_max_execution_time_ms": max_ms,
    }
    with connected(dsn) as conn, transaction(conn):
        schema = schema or find_schema(conn)
        check_subject(conn, schema, step, task)
        most = None if everything else limit
        found = iterate_audits(conn, schema, most and most + 1, filters)
        with closing(found):
            rows = _Limited(found, most)
            write_audits(rows, form, sys.stdout)
    rows.tell()


def changes(
    step: _Step = None,
    task: _Task = None,
    transition: Annotated[
        UUID | None, typer.Option(metavar="UUID", help="Of the result of this transition.")
    ] = None,
    operation: Annotated[Operation | None, typer.Option(help="By what.")] = None,
    by: Annotated[
        str | None, typer.Option(metavar="ROLE", help="By this role, as it logged in.")
    ] = None,
    since: _From = None,
    until: _Until = None,
    limit: _Limit = 100,
    everything: _All = False,
    form: _Form = HistoryFormat.TABLE,
    dsn: Dsn = None,
    schema: Schema = None,
    verbose: Verbose = False,
) -> None:
    """Print what was changed or deleted of results, newest first: each version before."""
    from step_audit.database import find_schema, transaction
    from step_audit.read.history import check_subject, iterate_changes

    filters: dict[str, object] = {
        "p_step_uuid": step,
        "p_task_uuid": task,
        "p_transition_uuid": transition,
        "p_operation": operation and operation.value,
        "p_recorded_by": by,
        "p_recorded_from": since,
        "p_recorded_until": until,
    }
    with connected(dsn) as conn, transaction(conn):
        schema = schema or find_schema(conn)
        check_subject(conn, schema, step, task)
        most = None if everything else limit
        found = iterate_changes(conn, schema, most and most + 1, filters)
        with closing(found):
            rows = _Limited(found, most)
            write_changes(rows, form, sys.stdout)
    rows.tell()


class _Limited:
    """So many of the rows; it sees one more, where there is one."""

    def __init__(self, rows: Iterable[dict[str, Any]], limit: int | None) -> None:
        self._rows, self._limit = rows, limit
        self._more = False

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number, row in enumerate(self._rows):
            if number == self._limit:
                self._more = True
                return
            yield row

    def tell(self) -> None:
        """Say that there are more, if so."""
        if self._more:
            say(
                f"these are the newest {self._limit}; there are more, see --limit and --all",
                err=True,
            )
