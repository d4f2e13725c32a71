"""The command ``verify``: thin, what it prints is the report.

It imports what it uses, so that ``--help`` starts at once.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from step_audit.cli.connecting import connected
from step_audit.cli.options import (
    BATCH_SIZE,
    AsJson,
    Dsn,
    Quiet,
    Schema,
    Verbose,
    read_key,
)
from step_audit.cli.output import report as print_report
from step_audit.errors import RefusedError, UsageError, describe
from step_audit.signals import telling
from step_audit.small_files import read_text

if TYPE_CHECKING:
    from step_audit.trust.verify import Report, Signed

_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]


def verify(
    ctx: typer.Context,
    since: Annotated[
        datetime | None, typer.Option(formats=_TIMES, help="Compare results from then on, UTC.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(formats=_TIMES, help="Compare results before then, UTC.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="A signed checkpoint that the log must agree with.")
    ] = None,
    public_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="The log's public key, or a file.")
    ] = None,
    from_checkpoint: Annotated[
        Path | None, typer.Option(help="An older checkpoint: look at the records since.")
    ] = None,
    dump: Annotated[
        Path | None,
        typer.Option(
            help="A folder with a file for each table, by pg_restore -a -t TABLE -f FILE: verify "
            "that, without a database."
        ),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Then audit the results that have no audit row.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    dsn: Dsn = None,
    schema: Schema = None,
    verbose: Verbose = False,
) -> None:
    """Prove that no result is missing and none was changed.

    Exit code 0 without findings, 1 with some or where a checkpoint is false, 2 where the options
    cannot be taken, 3 where it could not be verified.
    """
    signed = _open(checkpoint, from_checkpoint, public_key)
    if dump:
        # An environment that names a database is no contradiction.
        if repair or any(_is_given(ctx, name) for name in ("dsn", "schema")):
            raise typer.BadParameter(
                "--dump needs no database: leave out --repair, --dsn, --schema"
            )
        report = _verify_dump(dump, since, until, signed)
    else:
        with telling(lambda: "nothing was verified. Run it again"):
            silent = as_json or quiet
            report = _verify_database(dsn, schema, since, until, signed, repair, silent)
    print_report(report.to_dict(), report.lines(), as_json, quiet)
    if report.findings:
        raise typer.Exit(1)


def _is_given(ctx: typer.Context, option: str) -> bool:
    return getattr(ctx.get_parameter_source(option), "name", "") == "COMMANDLINE"


def _open(
    checkpoint: Path | None, from_checkpoint: Path | None, public_key: str | None
) -> Signed | None:
    from step_audit.trust.verify import open_signed

    if not (checkpoint or from_checkpoint or public_key):
        return None
    if not (checkpoint and public_key):
        lacking = "--public-key" if checkpoint else "--checkpoint"
        raise UsageError(
            f"--checkpoint and --public-key go together, and {lacking} is not given; nothing was "
            "verified. The key is what 'step-audit keygen' printed; a checkpoint is believed by it "
            "alone."
        )
    older = read_text(from_checkpoint, or_stdin=True) if from_checkpoint else None
    return open_signed(read_text(checkpoint, or_stdin=True), older, read_key(public_key))


def _verify_database(
    dsn: str | None,
    schema: str | None,
    since: datetime | None,
    until: datetime | None,
    signed: Signed | None,
    repair: bool,
    quiet: bool,
) -> Report:
    from step_audit.cli.progress import backfill_with_progress
    from step_audit.database import find_schema
    from step_audit.trust.verify import verify
    from step_audit.trust.verify.question import check_times

    check_times(since, until)
    with connected(dsn) as conn:
        schema = schema or find_schema(conn)
        with _telling_what_owners_say():
            report = verify(conn, schema, since, until, signed)
        if repair and report.missing:
            backfill_with_progress(conn, schema, BATCH_SIZE, quiet=quiet)
            with _telling_what_owners_say():
                report = verify(conn, schema, since, until, signed)
    return report


@contextmanager
def _telling_what_owners_say() -> Iterator[None]:
    """What the server answers may be an exception of the tables' owner, in any words."""
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        if error.sqlstate is None:
            raise
        raise RefusedError(
            f"{describe(error)} Nothing was verified. This may be said by code of the owner's of "
            "the tables, such as a function in an index, a check or a partition key, which may run "
            "while a query is planned or run. Look at it, or verify a dump, which runs none: "
            "step-audit verify --dump FOLDER"
        ) from error


def _verify_dump(
    dump: Path, since: datetime | None, until: datetime | None, signed: Signed | None
) -> Report:
    from step_audit.trust.verify import verify_dump

    if not dump.is_dir():
        raise UsageError(
            f"{dump} is no folder; nothing was verified. Name a folder with a file for each table: "
            "pg_restore -a -t TABLE -f FILE"
        )
    return verify_dump(dump, since, until, signed)
