"""Commands of the tamper-evident log, and what verifies it.

Each imports what it uses, so that ``--help`` starts at once.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from step_audit.cli.options import (
    BATCH_SIZE,
    Dsn,
    Schema,
    Verbose,
    plain,
    read_key,
    read_text,
    write_text,
)
from step_audit.errors import RefusedError

_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]

Since = Annotated[datetime | None, typer.Option(formats=_TIMES, help="Results from then on, UTC.")]
Until = Annotated[datetime | None, typer.Option(formats=_TIMES, help="Results before then, UTC.")]
PublicKey = Annotated[
    str,
    typer.Option(metavar="KEY", help="The log's public key, as 'keygen' printed it, or a file."),
]
Out = Annotated[Path | None, typer.Option(help="File to write to, instead of standard output.")]


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


def checkpoint(
    key: Annotated[Path, typer.Option(help="File with the private key.")],
    out: Out = None,
    dsn: Dsn = None,
    schema: Schema = None,
    verbose: Verbose = False,
) -> None:
    """Sign the size and the root of the sealed log; keep what is printed outside the database."""
    from step_audit.database import connect, find_schema, transaction
    from step_audit.trust.sealed_log import make_checkpoint

    signer_key = read_text(key).strip()
    with connect(dsn) as conn, transaction(conn):
        schema = schema or find_schema(conn)
        note = make_checkpoint(conn, schema, signer_key)
    write_text(note, out)


def prove(
    audit: Annotated[UUID, typer.Argument(metavar="AUDIT_UUID", help="Key of the audit row.")],
    checkpoint: Annotated[Path, typer.Option(help="File with a signed checkpoint.")],
    public_key: PublicKey,
    out: Out = None,
    without_result: Annotated[
        bool, typer.Option("--without-result", help="Leave the result out; its hash stays.")
    ] = False,
    dsn: Dsn = None,
    schema: Schema = None,
    verbose: Verbose = False,
) -> None:
    """Write a proof that one audit row and its result stand in the log of a checkpoint."""
    from step_audit.database import connect, find_schema, transaction
    from step_audit.trust.sealed_log import make_proof

    note, verifier_key = read_text(checkpoint), read_key(public_key)
    with connect(dsn) as conn, transaction(conn):
        schema = schema or find_schema(conn)
        proof = make_proof(conn, schema, audit, note, verifier_key, not without_result)
    write_text(proof, out)


def verify_proof(
    file: Annotated[Path, typer.Argument(help="The proof; - reads standard input.")],
    public_key: PublicKey,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    verbose: Verbose = False,
) -> None:
    """Check a proof, without a database: exit code 1 if it is false, 3 if it cannot be read."""
    from step_audit.trust import proof, report

    proved = proof.verify_proof(read_text(file), read_key(public_key))
    if as_json:
        typer.echo(json.dumps(report.as_document(proved)))
        return
    for name, value in report.as_lines(proved).items():
        typer.echo(f"{name:<22}{plain(value)}")
