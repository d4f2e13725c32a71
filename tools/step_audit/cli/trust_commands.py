"""Commands of the tamper-evident log, and what verifies it.

Each imports what it uses, so that ``--help`` starts at once.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from step_audit.cli.options import (
    BATCH_SIZE,
    Dsn,
    Schema,
    Verbose,
    read_key,
    read_text,
)

_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]

Since = Annotated[datetime | None, typer.Option(formats=_TIMES, help="Results from then on, UTC.")]
Until = Annotated[datetime | None, typer.Option(formats=_TIMES, help="Results before then, UTC.")]


def seal(dsn: Dsn = None, schema: Schema = None, verbose: Verbose = False) -> None:
    """Put what was recorded since the last seal into the tamper-evident log; no writer waits."""
    from step_audit.database import call, connect, find_schema, transaction

    sealed, complete = 0, False
    with connect(dsn) as conn:
        schema = schema or find_schema(conn)
        while not complete:
            with transaction(conn, writes=True):
                (done,) = call(conn, schema, "seal_step_result_audit")
            sealed, complete = sealed + done["sealed"], done["complete"]
        with transaction(conn):
            (head,) = call(conn, schema, "get_step_audit_tree_head")
    typer.echo(f"sealed {sealed} records; the log has {head['tree_size']}")
    typer.echo(f"root {head['root_hash'].hex()}")


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
    schema: Schema = None,
    verbose: Verbose = False,
) -> None:
    """Prove that no result is missing and none was changed: exit code 1 with findings, else 0."""
    from step_audit.cli.progress import backfill_with_progress
    from step_audit.database import connect, find_schema
    from step_audit.trust import verification

    signed = None
    if checkpoint or verified or public_key:
        if not (checkpoint and public_key):
            raise typer.BadParameter("--checkpoint and --public-key go together")
        signed = verification.open_signed(
            read_text(checkpoint), read_text(verified) if verified else None, read_key(public_key)
        )
    with connect(dsn) as conn:
        schema = schema or find_schema(conn)
        report = verification.verify(conn, schema, since, until, signed)
        if repair and report.missing:
            backfill_with_progress(conn, schema, BATCH_SIZE, quiet=as_json)
            report = verification.verify(conn, schema, since, until, signed)
    if as_json:
        typer.echo(json.dumps(report.to_dict()))
    else:
        for line in report.lines():
            typer.echo(line)
    if report.findings:
        raise typer.Exit(1)
