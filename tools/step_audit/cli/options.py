"""Options that several commands have, and how they read files and print values."""

from __future__ import annotations

import os
import re
import stat
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from step_audit.cli.output import write_raw
from step_audit.errors import RefusedError, writing
from step_audit.logs import LogFormat
from step_audit.small_files import read_text

BATCH_SIZE = 5000


class RoleKind(StrEnum):
    """What a role is to do with the audit."""

    READER = "reader"
    AUDITOR = "auditor"
    SEALER = "sealer"
    ATTRIBUTOR = "attributor"
    HOLDER = "holder"
    PURGER = "purger"
    ERASER = "eraser"


Dsn = Annotated[
    str | None,
    typer.Option(envvar="STEP_AUDIT_DSN", help="Connection string; else libpq's PG* variables."),
]
TargetSchema = Annotated[
    str | None,
    typer.Option(
        "--schema",
        envvar="STEP_AUDIT_SCHEMA",
        help="Schema for step-audit; if not given the engine's where its tables are called "
        "tasker_..., else step_audit.",
    ),
]
EngineSchema = Annotated[
    str | None,
    typer.Option(
        envvar="STEP_AUDIT_ENGINE_SCHEMA", help="Schema of the engine's tables; found if not given."
    ),
]
EnforceKeys = Annotated[
    bool | None,
    typer.Option(
        "--enforce-keys/--no-enforce-keys",
        help="Enforce the keys to the engine's tables, which then cannot delete what is audited; "
        "if not given as they were, at first not.",
        show_default=False,
    ),
]
Backfill = Annotated[bool, typer.Option(help="Audit past results too.")]
Schema = Annotated[
    str | None,
    typer.Option(
        envvar="STEP_AUDIT_SCHEMA",
        help="Schema where step-audit is installed; found if not given.",
    ),
]


def _in_seconds(lock_timeout: str) -> str:
    """To Postgres a bare number is milliseconds, and to everybody else seconds."""
    is_bare = re.fullmatch(r" *\d+(\.\d+)? *", lock_timeout, re.ASCII)
    return f"{lock_timeout.strip()}s" if is_bare else lock_timeout


LockTimeout = Annotated[
    str,
    typer.Option(
        envvar="STEP_AUDIT_LOCK_TIMEOUT",
        callback=_in_seconds,
        help="How long to wait for a lock, like 5s or 500ms; a bare number is seconds.",
    ),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Transitions per transaction of the backfill.")]
PublicKey = Annotated[
    str,
    typer.Option(
        metavar="KEY",
        envvar="STEP_AUDIT_PUBLIC_KEY",
        help="The log's public key, as 'keygen' printed it, or a file.",
    ),
]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", envvar="STEP_AUDIT_VERBOSE", help="Show the traceback of an error."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
LogAs = Annotated[
    LogFormat,
    typer.Option(
        envvar="STEP_AUDIT_LOG_FORMAT", help="How to log: lines of text or JSON, on standard error."
    ),
]


def read_key(text_or_file: str) -> str:
    """A key that was given as such, or as the name of a file that holds it."""
    found = os.path.exists(text_or_file)
    return (read_text(Path(text_or_file), or_stdin=True) if found else text_or_file).strip()


def read_private_key(path: Path) -> str:
    """A private key from a file that only its owner can read, or with ``-`` from standard input.

    Raises:
        TrustError: it is not UTF-8.
        RefusedError: others can read it.
    """
    if str(path) == "-":
        return read_text(path, or_stdin=True).strip()
    mode = path.stat().st_mode
    # A pipe is nobody's but its reader's, and Windows has no such rights.
    if os.name == "posix" and stat.S_ISREG(mode) and mode & 0o077:
        raise RefusedError(
            f"{path} is a private key that others than its owner can read (its mode is "
            f"{stat.S_IMODE(mode):04o}): whoever has it can sign for the log; nothing was signed. "
            f"Take the rights from them: chmod 600 {path}"
        )
    return read_text(path, or_stdin=True).strip()


def write_text(text: str, out: Path | None) -> None:
    """Write to a file, or to standard output."""
    if out is None:
        write_raw(text)
    else:
        with writing(out):
            out.write_bytes(text.encode())


def plain(value: object) -> str:
    """A value as a line for people shows it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value)
