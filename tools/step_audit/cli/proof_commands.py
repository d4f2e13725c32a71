"""Commands that prove single records, and check such proofs.

Each imports what it uses, so that ``--help`` starts at once.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from step_audit.cli.connecting import connected
from step_audit.cli.options import (
    Dsn,
    PublicKey,
    Schema,
    Verbose,
    plain,
    read_key,
    write_text,
)
from step_audit.cli.output import say, say_json
from step_audit.errors import (
    RefusedError,
    StepAuditError,
    TrustError,
    UsageError,
    describe,
)
from step_audit.small_files import MAX_LIST, MAX_PROOF, read_text

if TYPE_CHECKING:
    from step_audit.database import Connection


class ProofFormat(StrEnum):
    """How a proof is written; also the ending of its file."""

    JSON = "json"
    TLOG_PROOF = "tlog-proof"


def prove(
    checkpoint: Annotated[Path, typer.Option(help="File with a signed checkpoint.")],
    public_key: PublicKey,
    audit: Annotated[
        UUID | None,
        typer.Argument(metavar="AUDIT_UUID", show_default=False, help="Key of an audit row."),
    ] = None,
    task: Annotated[
        UUID | None, typer.Option(metavar="TASK_UUID", help="All audit rows of a task instead.")
    ] = None,
    listed: Annotated[
        Path | None,
        typer.Option("--list", help="A file of keys instead, one a line; - reads standard input."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write to; of several proofs the folder, a file for each."),
    ] = None,
    form: Annotated[ProofFormat, typer.Option("--format", help="How to write it.")] = (
        ProofFormat.JSON
    ),
    without_result: Annotated[
        bool, typer.Option("--without-result", help="Leave the result out; its hash stays.")
    ] = False,
    dsn: Dsn = None,
    schema: Schema = None,
    verbose: Verbose = False,
) -> None:
    """Prove that audit rows and their results stand in the log of a checkpoint.

    Of several, one that cannot be proved is named and does not stop the others: exit code 1.
    """
    import psycopg

    from step_audit.database import find_schema, transaction
    from step_audit.trust.sealed_log import check_log, make_proof
    from step_audit.trust.tlog_proof import to_tlog_proof

    if sum(each is not None for each in (audit, task, listed)) != 1:
        raise UsageError(
            "what is to be proved is not clear; nothing was written. "
            "Give one of AUDIT_UUID, --task and --list."
        )
    if audit is None and out is None:
        raise UsageError(
            "several proofs go into a folder; nothing was written. Name one with --out."
        )
    note, verifier_key = read_text(checkpoint, or_stdin=True), read_key(public_key)
    wanted = _read_list(listed) if listed else [str(audit)]
    with connected(dsn) as conn:
        schema = schema or find_schema(conn)
        with transaction(conn):
            check_log(conn, schema, note, verifier_key)
        if task is not None:
            wanted = _list_task(conn, schema, task)

        def write(record: str, file: Path | None) -> None:
            with transaction(conn):
                proof = make_proof(
                    conn, schema, _as_uuid(record), note, verifier_key, not without_result
                )
            write_text(to_tlog_proof(proof) if form == ProofFormat.TLOG_PROOF else proof, file)

        if audit is not None or out is None:
            write(wanted[0], out)
            return
        out.mkdir(parents=True, exist_ok=True)
        failed = 0
        for record in wanted:
            try:
                write(record, out / f"{_as_uuid(record)}.{form}")
            except (StepAuditError, psycopg.Error) as error:
                if conn.closed:
                    raise
                failed += 1
                say(f"{record}: {describe(error)}", err=True)
    say(f"proved {len(wanted) - failed} of {len(wanted)} records, in {out}")
    if failed:
        raise typer.Exit(1)


def verify_proof(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Proofs; - reads standard input.")
    ],
    public_key: PublicKey,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object for each proof.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Check proofs, without a database: exit code 1 if one is false, 3 if one cannot be read."""
    verifier_key = read_key(public_key)
    if len(files) == 1:
        _print_proved(files[0], verifier_key, as_json, named=False)
        return
    codes = set()
    for file in files:
        try:
            _print_proved(file, verifier_key, as_json, named=True)
        except (StepAuditError, OSError) as error:
            say(f"{file}: {describe(error)}", err=True)
            codes.add(getattr(error, "exit_code", StepAuditError.exit_code))
    if codes:
        raise typer.Exit(min(codes))


def _print_proved(file: Path, verifier_key: str, as_json: bool, named: bool) -> None:
    """Check one proof, and print what it proves; of several with the file's name."""
    from step_audit.trust import proof, report, tlog_proof

    text = read_text(file, MAX_PROOF, or_stdin=True)
    if tlog_proof.is_tlog_proof(text):
        text = tlog_proof.from_tlog_proof(text)
    proved = proof.verify_proof(text, verifier_key)
    name = {"proof": str(file)} if named else {}
    if as_json:
        say_json(json.dumps(name | report.as_document(proved)))
        return
    for claim, value in (name | report.as_lines(proved)).items():
        say(f"{claim:<22}{plain(value)}")


def _read_list(path: Path) -> list[str]:
    lines = [line.strip() for line in read_text(path, MAX_LIST, or_stdin=True).splitlines()]
    found = [line for line in lines if line]
    if not found:
        raise UsageError(f"{path} names no audit row; nothing was written. Write one key a line.")
    return found


def _list_task(conn: Connection, schema: str, task: UUID) -> list[str]:
    from step_audit.database import call, transaction

    with transaction(conn):
        rows = call(conn, schema, "list_task_audit_uuids", p_task_uuid=task)
    if not rows:
        raise RefusedError(
            f"task {task} has no audit rows; nothing was written. Is it a task of this database?"
        )
    return [str(row["list_task_audit_uuids"]) for row in rows]


def _as_uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise TrustError("it is not the key of an audit row, which is a UUID.") from error
