"""Commands that decide what stays and what goes: ``hold``, ``release``, ``holds``, ``purge``.

Each imports what it uses, so that ``--help`` starts at once.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from step_audit.cli.connecting import connected
from step_audit.cli.options import Dsn, Schema, Verbose
from step_audit.cli.output import say
from step_audit.cli.render import HistoryFormat, write_holds
from step_audit.errors import UsageError
from step_audit.signals import telling

if TYPE_CHECKING:
    from step_audit.trust.purge import Purged

FORMATS = [
    "%Y-%m-%d",
    *(f"%Y-%m-%d{t}%H:%M:%S{f}{z}" for t in "T " for f in ("", ".%f") for z in ("", "%z")),
]

MAX_BATCH = 1_000_000

# Of leaves in one sentence.
_NAMED = 10

Reason = Annotated[str, typer.Option(help="Why; it stays in the log.", show_default=False)]
Operator = Annotated[str | None, typer.Option(help="Who decided so.")]


def hold(
    reason: Reason,
    task: Annotated[UUID | None, typer.Option(metavar="UUID", help="A task.")] = None,
    correlation_id: Annotated[
        UUID | None, typer.Option(metavar="UUID", help="A correlation id, instead of a task.")
    ] = None,
    operator: Operator = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be held; write nothing.")
    ] = False,
    dsn: Dsn = None,
    schema: Schema = None,
    verbose: Verbose = False,
) -> None:
    """Keep a task's trail, or a correlation id's, from every purge and erasure until a release."""
    from step_audit.database import call, find_schema, transaction

    if (task is None) == (correlation_id is None):
        raise typer.BadParameter("give either --task or --correlation-id")
    with connected(dsn) as conn, transaction(conn, writes=not dry_run):
        (done,) = call(
            conn,
            schema or find_schema(conn),
            "hold_step_result_audit",
            p_reason=reason,
            p_operator=operator,
            p_task_uuid=task,
            p_correlation_id=correlation_id,
            p_dry_run=dry_run,
        )
    subject = f"task {task}" if task else f"correlation id {correlation_id}"
    records = f"{counted(done['records'], 'audit row')} by now"
    if dry_run:
        say(f"would hold {subject}: {records}; nothing was written")
    else:
        say(f"hold {done['hold']} keeps {subject}: {records}")


def release(
    hold: Annotated[UUID, typer.Argument(metavar="HOLD", help="A hold, as 'holds' lists it.")],
    reason: Reason,
    operator: Operator = None,
    dsn: Dsn = None,
    schema: Schema = None,
    verbose: Verbose = False,
) -> None:
    """End a hold; both stay in the log."""
    from step_audit.database import call, find_schema, transaction

    with connected(dsn) as conn, transaction(conn, writes=True):
        call(
            conn,
            schema or find_schema(conn),
            "release_step_result_audit",
            p_hold=hold,
            p_reason=reason,
            p_operator=operator,
        )
    say(f"hold {hold} is released")


def holds(
    released: Annotated[bool, typer.Option("--all", help="Also those that were released.")] = False,
    form: Annotated[HistoryFormat, typer.Option("--format", help="How to print them.")] = (
        HistoryFormat.TABLE
    ),
    dsn: Dsn = None,
    schema: Schema = None,
    verbose: Verbose = False,
) -> None:
    """Print what is held, by whom and why, newest first."""
    from step_audit.database import call, find_schema, transaction

    with connected(dsn) as conn, transaction(conn):
        rows = call(
            conn,
            schema or find_schema(conn),
            "list_step_audit_holds",
            p_active=None if released else True,
        )
    write_holds(rows, form, sys.stdout)


def purge(
    before: Annotated[
        datetime,
        typer.Option(
            metavar="TIME",
            formats=FORMATS,
            help="Only what was recorded before it, like 2019-01-01; UTC if it names no zone.",
            show_default=False,
        ),
    ],
    reason: Reason,
    operator: Operator = None,
    batch: Annotated[
        int, typer.Option(min=1, max=MAX_BATCH, help="Trails per transaction.")
    ] = 1000,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go; write nothing.")
    ] = False,
    dsn: Dsn = None,
    schema: Schema = None,
    verbose: Verbose = False,
) -> None:
    """Let trails go that are sealed, not held, and deleted by the engine; stop it at any time.

    What is not as it was sealed stays and is named: exit code 1.
    """
    from step_audit.database import find_schema
    from step_audit.trust.purge import Purged, run_purge

    if before.tzinfo is not None:
        try:
            before = before.astimezone(UTC).replace(tzinfo=None)
        except OverflowError as error:
            raise UsageError(
                f"--before {before} is no time in UTC; nothing was purged. "
                "Give one between the years 1 and 9999."
            ) from error
    done = Purged()

    def stopped() -> str:
        if dry_run:
            return "nothing was written"
        return f"{done.records} audit rows are purged, and stay so. Go on with the same command"

    with telling(stopped), connected(dsn) as conn:
        schema = schema or find_schema(conn)
        for done in run_purge(conn, schema, before, reason, operator, batch, dry_run):
            if done.holders:
                say(f"purge: waits for a transaction: {done.holders}", err=True)
    _sum_up(done, dry_run)


def _sum_up(done: Purged, dry_run: bool) -> None:
    went = "would purge" if dry_run else "purged"
    note = "; nothing was written" if dry_run else ""
    rows, changes, events = (
        counted(done.records, "audit row"),
        counted(done.changes, "change"),
        counted(done.events, "event"),
    )
    say(f"{went} {rows}, {changes} and {events}{note}")
    for count, why in (
        (done.kept_by_engine, "the engine still has the transition, and deletes first"),
        (done.kept_unsealed, "not sealed as a whole, see step-audit seal"),
        (done.kept_by_hold, "held, see step-audit holds"),
        (done.kept_younger, "partly younger, as its deletion may be"),
    ):
        if count:
            say(f"{counted(count, 'trail')} {'stays' if count == 1 else 'stay'}: {why}")
    if done.altered:
        leaves = ", ".join(map(str, done.altered[:_NAMED]))
        more = len(done.altered) - _NAMED
        say(
            f"not purged as not as sealed: {counted(len(done.altered), 'trail')}, of leaf {leaves}"
            f"{f' and {more} more' if more > 0 else ''}; step-audit verify says what was altered",
            err=True,
        )
        raise typer.Exit(1)


def counted(number: int, thing: str) -> str:
    """A number of things."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
