"""Commands that read the audit.

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
from step_audit.cli.options import Dsn, Schema, Verbose
from step_audit.cli.render import HistoryFormat, write_history
from step_audit.errors import RefusedError
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
    verbose: Verbose = False,
) -> None:
    """Answer over HTTP, read-only."""
    try:
        from step_audit.read import web
    except ImportError as error:
        raise RefusedError(
            f"{error.name} is not installed. Install it: pip install 'step-audit[web]'."
        ) from error

    # A signal is how it is ended.
    with suppress(StoppedError):
        web.serve(dsn, schema, host, port, key_file, typer.echo)


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the server running.")] = False,
    verbose: Verbose = False,
) -> None:
    """Play it all on a throw-away server: an engine with a past, install, more traffic, history."""
    from step_audit.demo.run import run_demo

    with telling(lambda: "the demo's server is stopped", _DEMO_SECONDS):
        run_demo(typer.echo, keep)
