"""Commands that put step-audit into a database and take it away.

Each imports what it uses, so that ``--help`` starts at once.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from step_audit.cli.connecting import connected
from step_audit.cli.options import (
    BATCH_SIZE,
    AsJson,
    Backfill,
    BatchSize,
    Dsn,
    EnforceKeys,
    EngineSchema,
    LockTimeout,
    Quiet,
    RoleKind,
    Schema,
    TargetSchema,
    Verbose,
    plain,
)
from step_audit.cli.output import report, say, write_raw
from step_audit.printing import printable
from step_audit.setup.script import Target
from step_audit.setup.sources import load_sources

if TYPE_CHECKING:
    from step_audit.database import Connection
    from step_audit.setup.installer import Attached


def install(
    dsn: Dsn = None,
    schema: TargetSchema = None,
    engine_schema: EngineSchema = None,
    enforce_keys: EnforceKeys = None,
    lock_timeout: LockTimeout = "5s",
    backfill: Backfill = True,
    batch_size: BatchSize = BATCH_SIZE,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the SQL that would run; run nothing.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Install or upgrade the audit in a database, then audit its past, while traffic goes on."""
    from step_audit.setup import installer

    sources = load_sources()
    target = _target(schema, engine_schema, enforce_keys, lock_timeout)
    with connected(dsn) as conn:
        if dry_run:
            write_raw(installer.render_pending(conn, sources, target))
            return
        done = installer.install(conn, sources, target)
        how = "installed" if done.changed else "was installed already, nothing changed"
        line = f"step-audit {sources.release} {how} in schema {done.schema}"
        _report(conn, done, line, batch_size if backfill else None, as_json, quiet)


def attach(
    dsn: Dsn = None,
    schema: Schema = None,
    engine_schema: EngineSchema = None,
    enforce_keys: EnforceKeys = None,
    lock_timeout: LockTimeout = "5s",
    backfill: Backfill = True,
    batch_size: BatchSize = BATCH_SIZE,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Bind the audit to the engine's tables: after a migration, a restore, CREATE EXTENSION."""
    from step_audit.database import find_schema
    from step_audit.setup import installer

    target = _target(None, engine_schema, enforce_keys, lock_timeout)
    with connected(dsn) as conn:
        done = installer.attach(conn, schema or find_schema(conn), target)
        how = "attached" if done.changed else "was attached already, nothing changed"
        line = f"step-audit {how} in schema {done.schema}"
        _report(conn, done, line, batch_size if backfill else None, as_json, quiet)


def detach(
    dsn: Dsn = None,
    schema: Schema = None,
    lock_timeout: LockTimeout = "5s",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Take trigger, keys and views off the engine's tables, for a migration that they refuse."""
    from step_audit.database import find_schema
    from step_audit.setup import installer

    with connected(dsn) as conn:
        schema = schema or find_schema(conn)
        installer.detach(conn, schema, lock_timeout)
    if not quiet:
        say(
            f"step-audit detached in schema {schema}: results are not audited until "
            "'step-audit attach'"
        )


def grant(
    role: Annotated[str, typer.Argument(metavar="ROLE", help="The role to give the rights to.")],
    role_kind: Annotated[
        RoleKind, typer.Option("--as", help="What the role is to do.", show_default=False)
    ],
    dsn: Dsn = None,
    schema: Schema = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Give a role the rights of a reader, an auditor, a sealer, a purger, and others."""
    from step_audit.database import call, find_schema, transaction

    with connected(dsn) as conn:
        schema = schema or find_schema(conn)
        with transaction(conn, as_owner_of=schema, writes=True):
            call(conn, schema, "grant_step_audit", p_role=role, p_as=role_kind.value)
    article = "an" if role_kind.value[0] in "ae" else "a"
    if not quiet:
        say(
            f"role {role} has the rights of {article} {role_kind.value} on step-audit "
            f"in schema {schema}"
        )


def status(
    dsn: Dsn = None,
    schema: Schema = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Show what is installed and whether any result lacks its audit row.

    Exit code 1 where results are not audited as installed, or one lacks its audit row.
    """
    from step_audit.database import call, find_schema, transaction

    with connected(dsn) as conn:
        schema = schema or find_schema(conn)
        with transaction(conn, as_owner_of=schema):
            (found,) = call(conn, schema, "get_step_audit_status")
    lines = [
        f"{name.replace('_', ' '):<22}{plain(line)}"
        for name, value in found.items()
        # A line for each problem: they are sentences.
        for line in (value if isinstance(value, list) else [value])
    ]
    report(found, lines, as_json, quiet)
    if not found["attached"] or found["trigger_state"] != "enabled" or found["unaudited"]:
        raise typer.Exit(1)


def backfill(
    dsn: Dsn = None,
    schema: Schema = None,
    batch_size: BatchSize = BATCH_SIZE,
    pause: Annotated[float, typer.Option(min=0, help="Seconds to wait between batches.")] = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Audit the results that were recorded before the trigger was there; stop it at any time."""
    from step_audit.cli.progress import backfill_with_progress
    from step_audit.database import find_schema

    with connected(dsn) as conn:
        schema = schema or find_schema(conn)
        done = backfill_with_progress(conn, schema, batch_size, pause, quiet or as_json)
    report({"backfilled": done.written, "passed_over": done.passed_over}, (), as_json, quiet)


def sql(
    schema: TargetSchema = None,
    engine_schema: EngineSchema = None,
    enforce_keys: EnforceKeys = None,
    lock_timeout: LockTimeout = "5s",
    no_transaction: Annotated[
        bool,
        typer.Option(
            "--no-transaction",
            help="Print one statement without BEGIN and COMMIT, for a tool that runs migrations.",
        ),
    ] = False,
) -> None:
    """Print the whole install as one script for psql -f; it may run again."""
    from step_audit.setup import script

    sources = load_sources()
    target = _target(schema, engine_schema, enforce_keys, lock_timeout)
    render = script.install_statement if no_transaction else script.install_script
    write_raw(render(sources, target))


def build_extension(
    folder: Annotated[Path, typer.Argument(help="Where to write the files.", file_okay=False)],
    quiet: Quiet = False,
) -> None:
    """Write the Postgres extension: control file, script and update scripts."""
    from step_audit.setup import script

    report({}, script.write_extension(load_sources(), folder), False, quiet)


def uninstall(
    dsn: Dsn = None,
    schema: Schema = None,
    lock_timeout: LockTimeout = "5s",
    drop_data: Annotated[
        bool, typer.Option("--drop-data", help="Drop the audit rows too, for good.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Remove trigger and functions; the audit rows stay unless --drop-data."""
    from step_audit.database import find_schema
    from step_audit.setup import installer

    with connected(dsn) as conn:
        schema = schema or find_schema(conn)
        if not yes:
            rows = "DROP ALL AUDIT ROWS" if drop_data else "keep the audit rows"
            where = f"in schema {schema} of database {conn.info.dbname}"
            question = f"Remove trigger and functions and {rows} {where}?"
            typer.confirm(printable(question), abort=True)
        installer.uninstall(conn, schema, drop_data, lock_timeout)
    kept = "audit rows dropped" if drop_data else "audit rows kept"
    if not quiet:
        say(f"step-audit uninstalled from schema {schema}, {kept}")


def _target(
    schema: str | None, engine_schema: str | None, enforce_keys: bool | None, lock_timeout: str
) -> Target:
    return Target(
        schema=schema,
        engine_schema=engine_schema,
        enforce_keys=enforce_keys,
        lock_timeout=lock_timeout,
    )


def _report(
    conn: Connection,
    done: Attached,
    line: str,
    batch_size: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Tell what was done, and then backfill unless there is no size of a batch."""
    from step_audit.cli.progress import backfill_with_progress

    report({}, [line, *(f"note: {note}" for note in done.notes)], False, quiet or as_json)
    past = None
    if batch_size is not None:
        past = backfill_with_progress(conn, done.schema, batch_size, quiet=quiet or as_json)
    document = {
        "schema": done.schema,
        "changed": done.changed,
        "notes": list(done.notes),
        "backfilled": past.written if past else None,
        "passed_over": past.passed_over if past else None,
    }
    report(document, (), as_json, quiet)
