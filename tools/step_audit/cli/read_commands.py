"""Commands that read the audit, and the one that says who did what it shows.

Each imports what it uses, so that ``--help`` starts at once.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from step_audit.cli.connecting import connected
from step_audit.cli.extras import extra
from step_audit.cli.options import Dsn, LogAs, Schema, Verbose
from step_audit.cli.output import say
from step_audit.cli.render import HistoryFormat, write_actions, write_history
from step_audit.logs import LogFormat
from step_audit.signals import StoppedError, telling

# It has a server of its own, which must not be left running.
_DEMO_SECONDS = 30.0


def history(
    step: Annotated[
        UUID | None, typer.Argument(metavar="STEP_UUID", show_default=False, help="A step.")
    ] = None,
    task: Annotated[
        UUID | None, typer.Option(metavar="TASK_UUID", help="A task, instead of a step.")
    ] = None,
    form: Annotated[HistoryFormat, typer.Option("--format", help="How to print it.")] = (
        HistoryFormat.TABLE
    ),
    dsn: Dsn = None,
    schema: Schema = None,
    verbose: Verbose = False,
) -> None:
    """Print the audited results of a step or a task, newest first."""
    from step_audit.database import find_schema, transaction
    from step_audit.read.history import read_history

    if (step is None) == (task is None):
        raise typer.BadParameter("give either STEP_UUID or --task TASK_UUID")
    with connected(dsn) as conn, transaction(conn):
        schema = schema or find_schema(conn)
        rows = read_history(conn, schema, step=step, task=task)
    write_history(rows, form, sys.stdout)


def actions(
    step: Annotated[
        UUID | None, typer.Argument(metavar="STEP_UUID", show_default=False, help="To a step.")
    ] = None,
    task: Annotated[
        UUID | None, typer.Option(metavar="TASK_UUID", help="To the steps of a task.")
    ] = None,
    unattributed: Annotated[
        bool, typer.Option("--unattributed", help="Only those of which nobody has told who did it.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
    form: Annotated[HistoryFormat, typer.Option("--format", help="How to print them.")] = (
        HistoryFormat.TABLE
    ),
    dsn: Dsn = None,
    schema: Schema = None,
    verbose: Verbose = False,
) -> None:
    """Print what operators did to steps, newest first: resets, completions, cancellations."""
    from step_audit.database import call, find_schema, transaction
    from step_audit.read.history import check_subject

    with connected(dsn) as conn, transaction(conn):
        schema = schema or find_schema(conn)
        check_subject(conn, schema, step, task)
        rows = call(
            conn,
            schema,
            "list_operator_actions",
            p_attributed=False if unattributed else None,
            p_task_uuid=task,
            p_step_uuid=step,
            # One more tells whether there are more.
            p_limit=limit + 1,
        )
    write_actions(rows[:limit], form, sys.stdout)
    if rows[limit:]:
        say(f"these are the newest {limit}; there are more, see --limit", err=True)


def attribute(
    transition: Annotated[
        UUID, typer.Argument(metavar="TRANSITION_UUID", help="Of the action, as 'actions' has it.")
    ],
    operator: Annotated[str, typer.Option(help="Who was behind it.", show_default=False)],
    reason: Annotated[str | None, typer.Option(help="Why.")] = None,
    source: Annotated[str | None, typer.Option(help="From where that is known.")] = None,
    dsn: Dsn = None,
    schema: Schema = None,
    verbose: Verbose = False,
) -> None:
    """Say who was behind an operator action; may be said again, and is never changed."""
    from step_audit.database import call, find_schema, transaction

    with connected(dsn) as conn, transaction(conn, writes=True):
        call(
            conn,
            schema or find_schema(conn),
            "attribute_operator_action",
            p_transition_uuid=transition,
            p_operator=operator,
            p_reason=reason,
            p_source=source,
        )
    say(f"the action of transition {transition} is attributed to {operator}")


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; without keys loopback only.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8080,
    dsn: Dsn = None,
    schema: Schema = None,
    key_file: Annotated[
        Path | None, typer.Option(help="File of API keys, one a line; else STEP_AUDIT_KEYS.")
    ] = None,
    log_format: LogAs = LogFormat.TEXT,
    verbose: Verbose = False,
) -> None:
    """Answer over HTTP, read-only."""
    with extra("web"):
        from step_audit.read import web

    # A signal is how it is ended.
    with suppress(StoppedError):
        web.serve(dsn, schema, host, port, key_file, log_format, typer.echo)


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave server and page running.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop what was left running.")] = False,
    verbose: Verbose = False,
) -> None:
    """Play it all on a throw-away server: an engine with a past, install, more traffic, history."""
    with extra("embedded"):
        from step_audit.demo.run import run_demo, stop_demo

    if stop:
        stop_demo(typer.echo)
        return
    with telling(lambda: "the demo's server is stopped", _DEMO_SECONDS):
        run_demo(typer.echo, keep)
