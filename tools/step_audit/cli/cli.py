"""The ``step-audit`` command: parse, call, print.

Modules are imported by the commands that use them, so that ``--help`` starts at once.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from step_audit.cli.render import HistoryFormat, write_history
from step_audit.errors import RefusedError, TrustError, describe
from step_audit.setup.sources import load_sources

if TYPE_CHECKING:
    from step_audit.database import Connection

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="The audit trail for Postgres-backed workflow engines: one row per worker result.",
)

_BATCH_SIZE = 5000
_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]

Dsn = Annotated[
    str | None,
    typer.Option(help="Connection string; else STEP_AUDIT_DSN, else libpq's PG* variables."),
]
Schema = Annotated[str, typer.Option(help="Schema of the engine's tables.")]
LockTimeout = Annotated[str, typer.Option(help="How long to wait for a lock, like 5s or 500ms.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Transitions per transaction of the backfill.")]
PublicKey = Annotated[
    str,
    typer.Option(metavar="KEY", help="The log's public key, as 'keygen' printed it, or a file."),
]
Since = Annotated[datetime | None, typer.Option(formats=_TIMES, help="Results from then on, UTC.")]
Until = Annotated[datetime | None, typer.Option(formats=_TIMES, help="Results before then, UTC.")]
Out = Annotated[Path | None, typer.Option(help="File to write to, instead of standard output.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show the traceback of an error.")]


@app.command()
def install(
    dsn: Dsn = None,
    schema: Schema = "public",
    lock_timeout: LockTimeout = "5s",
    backfill: Annotated[bool, typer.Option(help="Audit past results too.")] = True,
    batch_size: BatchSize = _BATCH_SIZE,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the SQL that would run; run nothing.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Install or upgrade the audit in a database, then audit its past, while traffic goes on."""
    from step_audit.database import connect
    from step_audit.setup import installer, script

    sources = load_sources()
    with connect(dsn) as conn:
        if dry_run:
            installed = installer.read_installed(conn, schema)
            files = installer.pending_files(sources, installed)
            typer.echo(script.install_script(sources, files, schema, lock_timeout), nl=False)
            return
        changed = installer.install(conn, sources, schema, lock_timeout)
        done = "installed" if changed else "was installed already, nothing changed"
        typer.echo(f"step-audit {sources.release} {done} in schema {schema}")
        if backfill:
            _backfill(conn, schema, batch_size)


@app.command()
def status(
    dsn: Dsn = None,
    schema: Schema = "public",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    verbose: Verbose = False,
) -> None:
    """Show what is installed and whether any result lacks its audit row."""
    from step_audit.database import call, connect

    with connect(dsn) as conn:
        (found,) = call(conn, schema, "get_step_audit_status")
    if as_json:
        typer.echo(json.dumps(found))
        return
    for name, value in found.items():
        typer.echo(f"{name.replace('_', ' '):<22}{_plain(value)}")


@app.command()
def backfill(
    dsn: Dsn = None,
    schema: Schema = "public",
    batch_size: BatchSize = _BATCH_SIZE,
    pause: Annotated[float, typer.Option(min=0, help="Seconds to wait between batches.")] = 0,
    verbose: Verbose = False,
) -> None:
    """Audit the results that were recorded before the trigger was there; stop it at any time."""
    from step_audit.database import connect

    with connect(dsn) as conn:
        _backfill(conn, schema, batch_size, pause)


@app.command()
def seal(dsn: Dsn = None, schema: Schema = "public", verbose: Verbose = False) -> None:
    """Put what was recorded since the last seal into the tamper-evident log; no writer waits."""
    from step_audit.database import call, connect

    sealed, complete = 0, False
    with connect(dsn) as conn:
        while not complete:
            (done,) = call(conn, schema, "seal_step_result_audit")
            sealed, complete = sealed + done["sealed"], done["complete"]
        (head,) = call(conn, schema, "get_step_audit_tree_head")
    typer.echo(f"sealed {sealed} records; the log has {head['tree_size']}")
    typer.echo(f"root {head['root_hash'].hex()}")


@app.command()
def verify(
    since: Since = None,
    until: Until = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="A signed checkpoint: verify the sealed log too.")
    ] = None,
    public_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="The log's public key, or a file.")
    ] = None,
    verified: Annotated[
        Path | None, typer.Option(help="An older checkpoint: of the log verify what came since.")
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Then audit the results that have no audit row.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    dsn: Dsn = None,
    schema: Schema = "public",
    verbose: Verbose = False,
) -> None:
    """Prove that no result is missing and none was changed: exit code 1 with findings, else 0."""
    from step_audit.database import connect
    from step_audit.trust import verification

    signed = None
    if checkpoint or verified or public_key:
        if not (checkpoint and public_key):
            raise typer.BadParameter("--checkpoint and --public-key go together")
        signed = verification.open_signed(
            _read(checkpoint), _read(verified) if verified else None, _read_key(public_key)
        )
    with connect(dsn) as conn:
        report = verification.verify(conn, schema, since, until, signed)
        if repair and report.missing:
            _backfill(conn, schema, _BATCH_SIZE, quiet=as_json)
            report = verification.verify(conn, schema, since, until, signed)
    if as_json:
        typer.echo(json.dumps(report.to_dict()))
    else:
        for line in report.lines():
            typer.echo(line)
    if report.findings:
        raise typer.Exit(1)


@app.command()
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
    schema: Schema = "public",
    verbose: Verbose = False,
) -> None:
    """Print the audited results of a step or a task, newest first."""
    from step_audit.database import connect
    from step_audit.read.history import read_history

    if (step is None) == (task is None):
        raise typer.BadParameter("give either STEP_UUID or --task TASK_UUID")
    with connect(dsn) as conn:
        rows = read_history(conn, schema, step=step, task=task)
    write_history(rows, form, sys.stdout)


@app.command()
def sql(schema: Schema = "public", lock_timeout: LockTimeout = "5s") -> None:
    """Print the whole install as one script for psql -f."""
    from step_audit.setup import script

    sources = load_sources()
    typer.echo(script.install_script(sources, sources.files, schema, lock_timeout), nl=False)


@app.command()
def build_extension(
    folder: Annotated[Path, typer.Argument(help="Where to write the files.", file_okay=False)],
) -> None:
    """Write the Postgres extension: control file, script and update scripts."""
    from step_audit.setup import script

    for path in script.write_extension(load_sources(), folder):
        typer.echo(path)


@app.command()
def uninstall(
    dsn: Dsn = None,
    schema: Schema = "public",
    lock_timeout: LockTimeout = "5s",
    drop_data: Annotated[
        bool, typer.Option("--drop-data", help="Drop the audit rows too, for good.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    verbose: Verbose = False,
) -> None:
    """Remove trigger and functions; the audit rows stay unless --drop-data."""
    from step_audit.database import connect
    from step_audit.setup import installer

    with connect(dsn) as conn:
        if not yes:
            rows = "DROP ALL AUDIT ROWS" if drop_data else "keep the audit rows"
            where = f"in schema {schema} of database {conn.info.dbname}"
            typer.confirm(f"Remove trigger and functions and {rows} {where}?", abort=True)
        installer.uninstall(conn, schema, drop_data, lock_timeout)
    kept = "audit rows dropped" if drop_data else "audit rows kept"
    typer.echo(f"step-audit uninstalled from schema {schema}, {kept}")


@app.command()
def keygen(
    name: Annotated[str, typer.Argument(help="Name of the log, like example.com/audit.")],
    out: Annotated[Path, typer.Option(help="File to write the private key to.")],
    verbose: Verbose = False,
) -> None:
    """Make the key that signs checkpoints: the private half into a file, the public one printed."""
    from step_audit.trust.note import generate_key

    key = generate_key(name)
    try:
        with open(out, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(f"{key.to_text()}\n".encode())
    except FileExistsError as error:
        raise RefusedError(
            f"{out} exists already and may be a key; nothing was written. Name another file."
        ) from error
    typer.echo(key.verifier.to_text())
    typer.echo(
        f"{out} is the private key: keep it where the database's administrators cannot read it.\n"
        "The line above is the public key: give it to whoever is to check the log.",
        err=True,
    )


@app.command()
def checkpoint(
    key: Annotated[Path, typer.Option(help="File with the private key.")],
    out: Out = None,
    dsn: Dsn = None,
    schema: Schema = "public",
    verbose: Verbose = False,
) -> None:
    """Sign the size and the root of the sealed log; keep what is printed outside the database."""
    from step_audit.database import connect
    from step_audit.trust.sealed_log import make_checkpoint

    signer_key = _read(key).strip()
    with connect(dsn) as conn:
        note = make_checkpoint(conn, schema, signer_key)
    _write(note, out)


@app.command()
def prove(
    audit: Annotated[UUID, typer.Argument(metavar="AUDIT_UUID", help="Key of the audit row.")],
    checkpoint: Annotated[Path, typer.Option(help="File with a signed checkpoint.")],
    public_key: PublicKey,
    out: Out = None,
    without_result: Annotated[
        bool, typer.Option("--without-result", help="Leave the result out; its hash stays.")
    ] = False,
    dsn: Dsn = None,
    schema: Schema = "public",
    verbose: Verbose = False,
) -> None:
    """Write a proof that one audit row and its result stand in the log of a checkpoint."""
    from step_audit.database import connect
    from step_audit.trust.sealed_log import make_proof

    note, verifier_key = _read(checkpoint), _read_key(public_key)
    with connect(dsn) as conn:
        proof = make_proof(conn, schema, audit, note, verifier_key, not without_result)
    _write(proof, out)


@app.command()
def verify_proof(
    file: Annotated[Path, typer.Argument(help="The proof; - reads standard input.")],
    public_key: PublicKey,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    verbose: Verbose = False,
) -> None:
    """Check a proof, without a database: exit code 1 if it is false, 3 if it cannot be read."""
    from step_audit.trust import proof, report

    proved = proof.verify_proof(_read(file), _read_key(public_key))
    if as_json:
        typer.echo(json.dumps(report.as_document(proved)))
        return
    for name, value in report.as_lines(proved).items():
        typer.echo(f"{name:<22}{_plain(value)}")


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; without keys loopback only.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8080,
    dsn: Dsn = None,
    schema: Schema = "public",
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

    web.serve(dsn, schema, host, port, key_file, typer.echo)


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the server running.")] = False,
    verbose: Verbose = False,
) -> None:
    """Play it all on a throw-away server: an engine with a past, install, more traffic, history."""
    from step_audit.demo.run import run_demo

    run_demo(typer.echo, keep)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; an error is one line on stderr and exit code 2 or 3."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        sys.exit(app(arguments or ["--help"], standalone_mode=False))
    except typer.Abort:
        sys.exit("step-audit: aborted")
    except BrokenPipeError:
        # Whoever read the output has left; nothing is to be flushed to him at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if "--verbose" in arguments:
            traceback.print_exc()
        # Typer's own errors, of usage, can tell their message too.
        message = error.format_message() if hasattr(error, "format_message") else describe(error)
        typer.echo(f"step-audit: {' '.join(message.split())}", err=True)
        sys.exit(getattr(error, "exit_code", 3))


def _backfill(
    conn: Connection, schema: str, batch_size: int, pause: float = 0, quiet: bool = False
) -> None:
    from rich.console import Console

    from step_audit.cli.progress import show_progress
    from step_audit.database import call
    from step_audit.setup.backfill import run_backfill

    (found,) = call(conn, schema, "get_step_audit_status")
    if not found["unaudited"]:
        typer.echo("backfill: nothing to do, every result has its audit row")
        return
    try:
        batches = run_backfill(conn, schema, batch_size, pause)
        show_progress(batches, found["unaudited"], Console(quiet=quiet))
    except KeyboardInterrupt:
        typer.echo("backfill stopped; what is written stays, go on with: step-audit backfill")
        raise typer.Exit(130) from None


def _read(path: Path) -> str:
    content = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise TrustError(
            f"{path} is not text in UTF-8; nothing was checked or signed. Is it the right file?"
        ) from error


def _read_key(text_or_file: str) -> str:
    found = os.path.exists(text_or_file)
    return (_read(Path(text_or_file)) if found else text_or_file).strip()


def _write(text: str, out: Path | None) -> None:
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_bytes(text.encode())


def _plain(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value)
