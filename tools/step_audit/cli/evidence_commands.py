"""Commands that hand evidence to an auditor, and check it without a database."""
# ruff: noqa: PLC0415

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from step_audit.cli.connecting import connected
from step_audit.cli.new_files import new_file
from step_audit.cli.options import Dsn, PublicKey, Schema, Verbose, plain, read_key
from step_audit.cli.output import say, say_json
from step_audit.errors import UsageError
from step_audit.small_files import MAX_LIST, read_text


def evidence(
    checkpoint: Annotated[Path, typer.Option(help="File with a signed checkpoint of the log.")],
    public_key: PublicKey,
    out: Annotated[Path, typer.Option(help="The archive, a new file.", show_default=False)],
    record: Annotated[
        UUID | None, typer.Option(metavar="AUDIT_UUID", help="Of this audited result.")
    ] = None,
    step: Annotated[
        UUID | None, typer.Option(metavar="STEP_UUID", help="Of all results of a step.")
    ] = None,
    task: Annotated[
        UUID | None, typer.Option(metavar="TASK_UUID", help="Of all results of a task.")
    ] = None,
    listed: Annotated[
        Path | None, typer.Option("--list", help="Of the keys in a file, one a line.")
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(min=1, max=100_000, metavar="N", help="Of N results that the seed draws."),
    ] = None,
    seed_checkpoint: Annotated[
        Path | None,
        typer.Option(help="What draws the sample: an older checkpoint; else the checkpoint."),
    ] = None,
    without_results: Annotated[
        bool, typer.Option("--without-results", help="Leave results out; their hashes stay.")
    ] = False,
    dsn: Dsn = None,
    schema: Schema = None,
    verbose: Verbose = False,
) -> None:
    """Write records, proofs and a page for people into one archive, for an auditor."""
    from step_audit.database import find_schema, transaction
    from step_audit.evidence import archive
    from step_audit.evidence.collect import Log, collect, draw_sample, list_records
    from step_audit.read.history import check_subject
    from step_audit.setup.sources import load_sources
    from step_audit.trust.checkpoint import open_checkpoint

    if sum(each is not None for each in (record, step, task, listed, sample)) != 1:
        raise UsageError(
            "what the evidence is to be of is not clear; nothing was written. "
            "Give one of --record, --step, --task, --list and --sample."
        )
    if seed_checkpoint and sample is None:
        raise UsageError("--seed-checkpoint draws a --sample; nothing was written. Give both.")
    note, key = read_text(checkpoint), read_key(public_key)
    manifest: dict[str, Any] = {
        "format": archive.FORMAT,
        "release": load_sources().release,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "results": not without_results,
    }
    files = {archive.CHECKPOINT: note.encode(), archive.KEY: key.encode()}
    leaves: dict[str, int] = {}
    with connected(dsn) as conn:
        log = Log(conn, schema or find_schema(conn), note, key)
        log.check()
        if sample is not None:
            seed = read_text(seed_checkpoint) if seed_checkpoint else note
            drawn = draw_sample(log, open_checkpoint(seed, key), sample)
            results = [each for each in drawn if each["kind"].endswith("result")]
            leaves = {each["record_uuid"]: each["leaf_index"] for each in results}
            question: dict[str, Any] = {"sample": sample}
            wanted = list(leaves)
            manifest["drawn"] = drawn
            files[archive.SEED] = seed.encode()
        elif listed is not None:
            wanted, question = _read_list(listed), {"list": listed.name}
        elif record is not None:
            wanted, question = [str(record)], {"record": str(record)}
        else:
            with transaction(conn):
                check_subject(conn, log.schema, step, task)
            wanted = list_records(log, step, task)
            question = {"step": str(step)} if step else {"task": str(task)}
        found = collect(log, wanted, leaves, not without_results)
    manifest |= {"question": question, "population": len(wanted), "missing": found.missing}
    files |= {
        archive.RECORDS: archive.lines_of(found.records),
        archive.CHANGES: archive.lines_of(found.changes),
        archive.ACTIONS: archive.lines_of(found.actions),
        **found.proofs,
    }
    with new_file(out) as file:
        archive.write_archive(file, manifest, files, key)
    say(f"proved {len(found.records)} of {len(wanted)} records, in {out}")
    for each in found.missing:
        say(f"{each['record']}: {each['reason']}", err=True)
    if found.missing:
        raise typer.Exit(1)


def verify_evidence(
    file: Annotated[Path, typer.Argument(help="An archive that 'evidence' wrote.")],
    public_key: PublicKey,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    verbose: Verbose = False,
) -> None:
    """Check an archive of evidence, without a database: exit code 1 if anything in it is false."""
    from step_audit.evidence.archive import verify_archive
    from step_audit.setup.sources import load_sources
    from step_audit.trust.encoding import encode_base64

    found = verify_archive(file, read_key(public_key), load_sources().release)
    document = {
        "question": found.question,
        "population": found.population,
        "proved": found.proved,
        "results withheld": found.withheld,
        "missing": len(found.missing),
        "log": found.checkpoint.origin,
        "log size": found.checkpoint.tree_size,
        "seed": encode_base64(found.seed.root_hash) if found.seed else None,
        "page checked": found.page_checked,
    }
    if as_json:
        say_json(json.dumps(document | {"missing": found.missing}))
        return
    for name, value in document.items():
        shown = json.dumps(value) if isinstance(value, dict) else plain(value)
        say(f"{name:<22}{shown}")
    for each in found.missing:
        say(f"missing: {each['record']}: {each['reason']}")


def _read_list(path: Path) -> list[str]:
    lines = [line.strip() for line in read_text(path, MAX_LIST, or_stdin=True).splitlines()]
    found = list(dict.fromkeys(line for line in lines if line))
    try:
        keys = [str(UUID(line)) for line in found]
    except ValueError as error:
        raise UsageError(
            f"{path} holds what is no UUID; nothing was written. Write one key a line."
        ) from error
    if not keys:
        raise UsageError(f"{path} names no audit row; nothing was written. Write one key a line.")
    return keys
