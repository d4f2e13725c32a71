"""The command ``erase``.

It imports what it uses, so that ``--help`` starts at once.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from step_audit.cli.connecting import connected
from step_audit.cli.options import Dsn, Schema, Verbose
from step_audit.cli.output import say
from step_audit.errors import RefusedError, UsageError
from step_audit.printing import printable
from step_audit.signals import telling

if TYPE_CHECKING:
    from step_audit.trust.erase import Plan, Progress, Subject

OUT_OF_REACH = (
    "what Postgres has not vacuumed yet, and its write-ahead log",
    "backups, replicas and subscribers",
    "the engine's other columns: workflow_steps.results, tasks.context",
    "metadata of transitions that are no results, those of operators' actions among them",
    "results without an audit row, which step-audit backfill gives them",
    "logs of the server, the workers and step-audit's readers",
)
"""What an erasure does not reach."""


def erase(
    reason: Annotated[
        str, typer.Option(help="Why. It stays in the log: name nobody in it.", show_default=False)
    ],
    task: Annotated[UUID | None, typer.Option(help="All that is kept of a task.")] = None,
    correlation_id: Annotated[
        UUID | None, typer.Option(help="All that is kept of a correlation id.")
    ] = None,
    record: Annotated[UUID | None, typer.Option(help="One result, by its audit row.")] = None,
    operator: Annotated[
        str | None, typer.Option(help="Who asked for it. It stays in the log.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be erased; erase nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dsn: Dsn = None,
    schema: Schema = None,
    verbose: Verbose = False,
) -> None:
    """Erase for good what results hold, and keep that they were sealed.

    What is refused is named and does not stop the rest: exit code 1.
    """
    from step_audit.database import find_schema
    from step_audit.trust.erase import Progress, Subject, check_reason, plan_erasure, run_erasure

    if sum(each is not None for each in (task, correlation_id, record)) != 1:
        raise UsageError(
            "what is to be erased is not clear; nothing was erased. "
            "Give one of --task, --correlation-id and --record."
        )
    subject, done = Subject(task, correlation_id, record), Progress()
    with connected(dsn) as conn:
        schema = schema or find_schema(conn)
        check_reason(conn, schema, reason, operator)
        plan = plan_erasure(conn, schema, subject)
        _show(plan, subject)
        if dry_run:
            _tell_refused(plan.refused)
            return
        if plan.leaves and not yes:
            question = f"Erase this in database {conn.info.dbname}, for good?"
            typer.confirm(printable(question), abort=True)
        with telling(
            lambda: f"{done.erased} transitions are erased and stay so. Go on with the same command"
        ):
            for done in run_erasure(conn, schema, plan, reason, operator):
                if done.holders:
                    say(f"erase: waits for a lock, held by {done.holders}", err=True)
    _sum_up(done)


def _show(plan: Plan, subject: Subject) -> None:
    if not plan.transitions:
        raise RefusedError(
            f"there is no record of {subject.name}; nothing was erased. Is it of this database?"
        )
    say(f"{subject.name}: {_counted(len(plan.transitions), 'transition')}")
    if plan.erased:
        say(f"{_counted(plan.erased, 'transition')} erased already")
    if not plan.leaves:
        return
    say("what becomes empty:")
    for columns, rows in plan.rows.items():
        if rows:
            say(f"  {_counted(rows, 'row')} of {columns}")
    say(f"  {_counted(plan.leaves, 'salt')}, so that nothing can be guessed by the log")
    say("what is not reached:")
    for each in OUT_OF_REACH:
        say(f"  {each}")


def _sum_up(done: Progress) -> None:
    say(f"erased {_counted(done.erased, 'transition')}")
    if done.before:
        say(f"{_counted(done.before, 'transition')} had been erased before: nothing was written")
    _tell_refused(done.refused)


def _tell_refused(refused: tuple[str, ...]) -> None:
    for why in refused:
        say(f"refused: {why}", err=True)
    if refused:
        raise typer.Exit(1)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
