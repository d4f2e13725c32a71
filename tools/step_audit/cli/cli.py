"""The ``step-audit`` command: its commands in the order of ``--help``, and how an error is told."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

from step_audit import signals
from step_audit.cli import (
    checkpoint_commands,
    erase_command,
    evidence_commands,
    export_command,
    list_commands,
    proof_commands,
    read_commands,
    retention_commands,
    setup_commands,
    trust_commands,
    verify_command,
    watch_command,
)
from step_audit.cli.examples import EXAMPLES
from step_audit.cli.output import say
from step_audit.errors import describe
from step_audit.setup.sources import load_sources

_NAME = "step-audit"

app = typer.Typer(
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class _Command(TyperCommand):
    """A command whose options are environment variables too: ``STEP_AUDIT_SERVE_PORT``."""

    def __init__(self, name: str, **settings: Any) -> None:
        super().__init__(name, **settings)
        for option in self.params:
            if option.param_type_name == "option" and option.envvar is None:
                called = max(option.opts, key=len).removeprefix("--")
                option.envvar = f"{_NAME}_{name}_{called}".replace("-", "_").upper()


def _tell_version(wanted: bool) -> None:
    if wanted:
        say(f"{_NAME} {load_sources().release}")
        raise typer.Exit


@app.callback()
def _step_audit(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_tell_version, is_eager=True, help="Print the release, and end."
        ),
    ] = False,
) -> None:
    """The audit trail for Postgres-backed workflow engines: one row per worker result."""


for _command in (
    setup_commands.install,
    setup_commands.status,
    setup_commands.backfill,
    trust_commands.seal,
    verify_command.verify,
    read_commands.history,
    list_commands.list_results,
    list_commands.changes,
    read_commands.actions,
    read_commands.attribute,
    retention_commands.hold,
    retention_commands.release,
    retention_commands.holds,
    retention_commands.purge,
    erase_command.erase,
    setup_commands.sql,
    setup_commands.build_extension,
    setup_commands.detach,
    setup_commands.attach,
    setup_commands.grant,
    setup_commands.uninstall,
    checkpoint_commands.keygen,
    checkpoint_commands.checkpoint,
    checkpoint_commands.consistency,
    watch_command.watch,
    proof_commands.prove,
    proof_commands.verify_proof,
    evidence_commands.evidence,
    evidence_commands.verify_evidence,
    export_command.export,
    read_commands.serve,
    read_commands.demo,
):
    _name = _command.__name__.removesuffix("_results").replace("_", "-")
    _example = EXAMPLES.get(_name)
    _epilog = f"\b\nExample:\n  {_example}" if _example else None
    app.command(_name, cls=_Command, epilog=_epilog)(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; an error is one line on stderr and exit code 2 or 3, a signal 130 or 143."""
    with signals.stoppable():
        _run(sys.argv[1:] if arguments is None else arguments)


def _run(arguments: Sequence[str]) -> NoReturn:
    try:
        sys.exit(app(arguments or ["--help"], prog_name=_NAME, standalone_mode=False))
    except signals.StoppedError as stopped:
        say(stopped, err=True)
        raise
    except typer.Abort:
        sys.exit("step-audit: aborted")
    except BrokenPipeError:
        # Whoever read the output has left; nothing is to be flushed to him at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if "--verbose" in arguments or os.environ.get("STEP_AUDIT_VERBOSE"):
            traceback.print_exc()
        # Typer's own errors, of usage, can tell their message too.
        message = error.format_message() if hasattr(error, "format_message") else describe(error)
        say(f"step-audit: {' '.join(message.split())}", err=True)
        sys.exit(getattr(error, "exit_code", 3))
