"""The command ``watch``.

It imports what it uses, so that ``--help`` starts at once.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from step_audit.cli.extras import extra
from step_audit.cli.options import Dsn, LogAs, Schema, Verbose, read_private_key
from step_audit.cli.output import say, say_json
from step_audit.errors import UsageError
from step_audit.logs import LogFormat
from step_audit.logs import line as log_line
from step_audit.signals import StoppedError

if TYPE_CHECKING:
    from step_audit.trust.alarms import Event
    from step_audit.trust.watch import Watch

_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

_MAX_PORT = 65535

# How long a command that is told of an alarm may take.
_COMMAND_SECONDS = 30.0


def watch(
    seal_every: Annotated[str, typer.Option(metavar="TIME", help="How often to seal.")] = "30s",
    checkpoints: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of checkpoints: sign what was verified into it."),
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="File with the private key; - reads standard input.")
    ] = None,
    verify_every: Annotated[
        str, typer.Option(metavar="TIME", help="How often to verify what is new, and sign.")
    ] = "5m",
    verify_all_every: Annotated[
        str, typer.Option(metavar="TIME", help="How often to verify all; at the start too.")
    ] = "1d",
    late: Annotated[
        str, typer.Option(metavar="TIME", help="How much older than its seal a record may be.")
    ] = "1h",
    patience: Annotated[
        str, typer.Option(metavar="TIME", help="How long a lock, a standby, the server may take.")
    ] = "1m",
    on_finding: Annotated[
        str | None,
        typer.Option(metavar="COMMAND", help="Shell command that is given each alarm as JSON."),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="One round, which verifies all: exit code 1 with alarms.")
    ] = False,
    first: Annotated[
        bool,
        typer.Option("--first", help="The folder has no checkpoint yet: trust the log as it is."),
    ] = False,
    log_format: LogAs = LogFormat.JSON,
    metrics: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Answer a monitoring system there, at /metrics."),
    ] = None,
    dsn: Dsn = None,
    schema: Schema = None,
    verbose: Verbose = False,
) -> None:
    """Seal, verify and sign again and again; tell what is out of order, a line each.

    Nothing is signed while a finding stands, or while nothing shows that the log extends the newest
    checkpoint of the folder. Stopped by a signal it ends with 1 where an alarm stands, else with 0.
    """
    from step_audit.trust.plan import Plan
    from step_audit.trust.watch import Watch

    if (checkpoints is None) != (key is None):
        raise UsageError(
            "--checkpoints and --key go together; nothing was done. Give both, or none to sign "
            "nothing."
        )
    if first and not checkpoints:
        raise UsageError(
            "--first is about a folder of checkpoints, and none is named; nothing was done. "
            "Give --checkpoints and --key too."
        )
    plan = Plan(
        dsn,
        schema,
        checkpoints,
        read_private_key(key) if key else None,
        first,
        _seconds("--seal-every", seal_every),
        _seconds("--verify-every", verify_every),
        _seconds("--verify-all-every", verify_all_every),
        timedelta(seconds=_seconds("--late", late)),
        _seconds("--patience", patience),
    )
    if checkpoints and first:
        checkpoints.mkdir(parents=True, exist_ok=True)
    # What is wrong with key or folder is told before anything is done.
    plan.find_previous(first)

    write = say_json if log_format is LogFormat.JSON else say

    def note(what: str) -> None:
        write(log_line(log_format, datetime.now(UTC), "info", {"note": what}), err=True)

    def tell(event: Event) -> None:
        told = event.to_dict()
        level = "info" if event.state == "cleared" else "error"
        write(log_line(log_format, event.time, level, told), err=True)
        if on_finding:
            as_json = log_line(LogFormat.JSON, event.time, level, told)
            problem = _hand_over(on_finding, as_json)
            if problem:
                note(f"the command of --on-finding {problem}")

    watching = Watch(plan, tell, note)
    if once:
        watching.look(verifies=True, whole=True)
    else:
        try:
            with _answering(watching, metrics, note):
                watching.run()
        except StoppedError as stopped:
            alarms = ", ".join(sorted(watching.standing.alarms)) or "none"
            note(f"stopped by {stopped.name}; alarms that stand: {alarms}")
    if watching.standing.alarms:
        raise typer.Exit(1)


@contextmanager
def _answering(watching: Watch, address: str | None, note: Callable[[str], None]) -> Iterator[None]:
    if address is None:
        yield
        return
    with extra("web"):
        from step_audit.cli.watch_metrics import serving_metrics

    host, _, port = address.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and int(port) <= _MAX_PORT):
        raise UsageError(
            f"--metrics is an address like 127.0.0.1:9187, not {address!r}; nothing was done."
        )
    with serving_metrics(watching, host.strip("[]"), int(port)) as served:
        note(f"metrics at {served}")
        yield


def _seconds(option: str, text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(ms|s|m|h|d|)", text.strip())
    if not found or not float(found[1]):
        raise UsageError(
            f"{option} is a time like 30s, 5m, 2h or 1d, not {text!r}; nothing was done."
        )
    return float(found[1]) * _SECONDS[found[2]]


def _hand_over(command: str, line: str) -> str | None:
    """Run a command with a line on its standard input; gives what went wrong."""
    with subprocess.Popen(
        command, shell=True, stdin=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            process.communicate(f"{line}\n", timeout=_COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            return f"took longer than {_COMMAND_SECONDS:g} s and was ended"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return f"ended with {process.returncode}" if process.returncode else None
