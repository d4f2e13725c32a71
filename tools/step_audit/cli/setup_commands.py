"""Commands that put step-audit into a database and take it away.

Each imports what it uses, so that ``--help`` starts at once.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from step_audit.cli.options import (
    BATCH_SIZE,
    BatchSize,
    Dsn,
    HostSchema,
    LockTimeout,
    Schema,
    Verbose,
    plain,
)
from step_audit.setup.sources import load_sources


def install(
    dsn: Dsn = None,
    schema: HostSchema = "public",
    lock_timeout: LockTimeout = "5s",
    backfill: Annotated[bool, typer.Option(help="Audit past results too.")] = True,
    batch_size: BatchSize = BATCH_SIZE,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the SQL that would run; run nothing.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Install or upgrade the audit in a database, then audit its past, while traffic goes on."""
    from step_audit.cli.progress import backfill_with_progress
    from step_audit.database import connect, transaction
    from step_audit.setup import installer, script

    sources = load_sources()
    with connect(dsn) as conn:
        if dry_run:
            with transaction(conn):
                installed = installer.read_installed(conn, schema)
            files = installer.pending_files(sources, installed)
            typer.echo(script.install_script(sources, files, schema, lock_timeout), nl=False)
            return
        changed = installer.install(conn, sources, schema, lock_timeout)
        done = "installed" if changed else "was installed already, nothing changed"
        typer.echo(f"step-audit {sources.release} {done} in schema {schema}")
        if backfill:
            backfill_with_progress(conn, schema, batch_size)


def status(
    dsn: Dsn = None,
    schema: Schema = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    verbose: Verbose = False,
) -> None:
    """Show what is installed and whether any result lacks its audit row."""
    from step_audit.database import call, connect, find_schema, transaction

    with connect(dsn) as conn, transaction(conn):
        schema = schema or find_schema(conn)
        (found,) = call(conn, schema, "get_step_audit_status")
    if as_json:
        typer.echo(json.dumps(found))
        return
    for name, value in found.items():
        typer.echo(f"{name.replace('_', ' '):<22}{plain(value)}")


def backfill(
    dsn: Dsn = None,
    schema: Schema = None,
    batch_size: BatchSize = BATCH_SIZE,
    pause: Annotated[float, typer.Option(min=0, help="Seconds to wait between batches.")] = 0,
    verbose: Verbose = False,
) -> None:
    """Audit the results that were recorded before the trigger was there; stop it at any time."""
    from step_audit.cli.progress import backfill_with_progress
    from step_audit.database import connect, find_schema

    with connect(dsn) as conn:
        schema = schema or find_schema(conn)
        backfill_with_progress(conn, schema, batch_size, pause)


def sql(schema: HostSchema = "public", lock_timeout: LockTimeout = "5s") -> None:
    """Print the whole install as one script for psql -f."""
    from step_audit.setup import script

    sources = load_sources()
    typer.echo(script.install_script(sources, sources.files, schema, lock_timeout), nl=False)


def build_extension(
    folder: Annotated[Path, typer.Argument(help="Where to write the files.", file_okay=False)],
) -> None:
    """Write the Postgres extension: control file, script and update scripts."""
    from step_audit.setup import script

    for path in script.write_extension(load_sources(), folder):
        typer.echo(path)


def uninstall(
    dsn: Dsn = None,
    schema: Schema = None,
    lock_timeout: LockTimeout = "5s",
    drop_data: Annotated[
        bool, typer.Option("--drop-data", help="Drop the audit rows too, for good.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    verbose: Verbose = False,
) -> None:
    """Remove trigger and functions; the audit rows stay unless --drop-data."""
    from step_audit.database import connect, find_schema
    from step_audit.setup import installer

    with connect(dsn) as conn:
        schema = schema or find_schema(conn)
        if not yes:
            rows = "DROP ALL AUDIT ROWS" if drop_data else "keep the audit rows"
            where = f"in schema {schema} of database {conn.info.dbname}"
            typer.confirm(f"Remove trigger and functions and {rows} {where}?", abort=True)
        installer.uninstall(conn, schema, drop_data, lock_timeout)
    kept = "audit rows dropped" if drop_data else "audit rows kept"
    typer.echo(f"step-audit uninstalled from schema {schema}, {kept}")
