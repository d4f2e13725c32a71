"""Commands about keys and checkpoints.

Each imports what it uses, so that ``--help`` starts at once.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from step_audit.cli.connecting import connected
from step_audit.cli.options import (
    AsJson,
    Dsn,
    PublicKey,
    Quiet,
    Schema,
    Verbose,
    read_key,
    read_private_key,
    write_text,
)
from step_audit.cli.output import report, say
from step_audit.errors import NotProvedError, RefusedError, UsageError, writing
from step_audit.small_files import read_text

_STANDBY_SECONDS = 30.0


def keygen(
    name: Annotated[str, typer.Argument(help="Name of the log, like example.com/audit.")],
    out: Annotated[Path, typer.Option(help="File to write the private key to.")],
    verbose: Verbose = False,
) -> None:
    """Make the key that signs checkpoints: the private half into a file, the public one printed."""
    from step_audit.trust.note import generate_key

    key = generate_key(name)
    try:
        with (
            writing(out),
            open(out, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file,
        ):
            file.write(f"{key.to_text()}\n".encode())
    except FileExistsError as error:
        raise RefusedError(
            f"{out} exists already and may be a key; nothing was written. Name another file."
        ) from error
    say(key.verifier.to_text())
    say(
        f"{out} is the private key: keep it where the database's administrators cannot read it.",
        err=True,
    )
    say("The line above is the public key: give it to whoever is to check the log.", err=True)


def checkpoint(
    key: Annotated[Path, typer.Option(help="File with the private key; - reads standard input.")],
    out: Annotated[
        Path | None, typer.Option(help="New file to write to, instead of standard output.")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(help="Folder of checkpoints: write one more, which extends the newest there."),
    ] = None,
    after: Annotated[
        Path | None, typer.Option(help="An older checkpoint, which the log has to extend.")
    ] = None,
    first: Annotated[
        bool,
        typer.Option("--first", help="There is none to extend: trust the log as it is now."),
    ] = False,
    public_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY", help="What opens the older checkpoint; by default the key's own half."
        ),
    ] = None,
    wait_standby: Annotated[
        bool,
        typer.Option(
            "--wait-standby/--no-wait-standby",
            help="Wait until each standby has flushed what is signed.",
        ),
    ] = True,
    standby_timeout: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How long to wait for standbys.")
    ] = _STANDBY_SECONDS,
    dsn: Dsn = None,
    schema: Schema = None,
    verbose: Verbose = False,
) -> None:
    """Sign the size and the root of the sealed log; keep it where the database cannot reach it.

    Only a log that extends the checkpoint before is signed: name it with --after, or the folder
    that has it with --folder. With --first nothing is compared.
    """
    from step_audit.database import find_schema
    from step_audit.trust import archive
    from step_audit.trust.note import SignerKey
    from step_audit.trust.server import Durability
    from step_audit.trust.signing import make_checkpoint

    if folder and (out or after):
        raise UsageError(
            "--folder names the file and the checkpoint before by itself; nothing was signed. "
            "Give either --folder, or --out and --after."
        )
    if after and first:
        raise UsageError(
            "--first says that there is no checkpoint to extend, and --after names one; nothing "
            "was signed. Leave out --first."
        )
    if not (after or folder or first):
        raise UsageError(
            "without the checkpoint before nobody can know whether the log was written anew since; "
            "nothing was signed. Name it: --after FILE, or --folder DIR with the newest there. "
            "Only where the log was never signed before: --first."
        )
    signer_key = read_private_key(key)
    verifier_key = read_key(public_key or SignerKey.from_text(signer_key).verifier.to_text())
    previous = archive.open_kept(after, verifier_key) if after else None
    if folder:
        if first:
            folder.mkdir(parents=True, exist_ok=True)
        previous = archive.find_previous(folder, verifier_key, first)
    if out:
        archive.refuse_existing(out)
    with connected(dsn) as conn:
        schema = schema or find_schema(conn)
        signed = make_checkpoint(
            conn, schema, signer_key, previous, standby_timeout if wait_standby else None
        )
    if signed.durability not in (None, Durability.NO_STANDBY):
        say(f"durable: {signed.durability}", err=True)
    if folder:
        if previous and previous.checkpoint == signed.checkpoint:
            say(f"the log is as {previous.path} has it; nothing was written", err=True)
            return
        out = folder / archive.name_checkpoint(signed.checkpoint)
    if out is None:
        write_text(signed.note, None)
        return
    archive.write_with_proof(out, signed.note, signed.proof.to_text() if signed.proof else None)
    if folder:
        say(out)


def consistency(
    old: Annotated[Path, typer.Argument(help="File with the older checkpoint.")],
    new: Annotated[Path, typer.Argument(help="File with the newer checkpoint.")],
    public_key: PublicKey,
    proof: Annotated[
        Path | None,
        typer.Option(help="The proof that 'checkpoint' wrote beside NEW; else the database's."),
    ] = None,
    dsn: Dsn = None,
    schema: Schema = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Check that one checkpoint extends another: exit code 1 if it is not shown that it does."""
    from step_audit.database import find_schema
    from step_audit.trust.archive import open_kept
    from step_audit.trust.consistency import check_extends, check_proof, needs_proof
    from step_audit.trust.signing import read_consistency_path

    verifier_key = read_key(public_key)
    older, newer = (open_kept(each, verifier_key).checkpoint for each in (old, new))
    if proof:
        check_proof(older, newer, read_text(proof, or_stdin=True), verifier_key)
    else:
        path: tuple[bytes, ...] = ()
        if needs_proof(older, newer):
            with connected(dsn) as conn:
                schema = schema or find_schema(conn)
                path = read_consistency_path(conn, schema, older, newer)
        try:
            check_extends(older, newer, path)
        except ValueError as error:
            raise NotProvedError(
                f"it is not shown that {new} extends {old}: {error}. Do not rely on {new}, unless "
                "the database is another one than it was signed for."
            ) from error
    had = f"{newer.origin} had {older.tree_size} records, then {newer.tree_size}"
    report(
        {"origin": newer.origin, "old_size": older.tree_size, "new_size": newer.tree_size},
        (f"{new} extends {old}: {had}",),
        as_json,
        quiet,
    )
