"""Checkpoints that are kept in files, which are never overwritten, and a folder of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from step_audit.errors import RefusedError, StepAuditError, TrustError, writing
from step_audit.small_files import read_text
from step_audit.trust.checkpoint import Checkpoint, open_checkpoint

_ENDING = ".checkpoint"
_SIZE_DIGITS = 19  # of the largest bigint, so that names sort by size


@dataclass(frozen=True, slots=True)
class KeptCheckpoint:
    """A checkpoint that was opened, and its file."""

    path: Path
    note: str
    checkpoint: Checkpoint


def open_kept(path: Path, verifier_key: str) -> KeptCheckpoint:
    """Open the checkpoint in a file; an error names the file.

    Raises:
        TrustError: it or the key cannot be read.
        NotProvedError: it is not signed by this key.
    """
    note = read_text(path)
    try:
        return KeptCheckpoint(path, note, open_checkpoint(note, verifier_key))
    except TrustError as error:
        raise type(error)(f"{path}: {error}") from error


def find_newest(folder: Path, verifier_key: str) -> KeptCheckpoint | None:
    """The checkpoint of the most records in a folder, of one size that of the last name.

    Only that one is opened: the size of the others is as they say, without a look at signatures.

    Raises:
        TrustError: one cannot be read.
        NotProvedError: the newest is not signed by this key.
    """
    sizes = {path: _stated_size(path) for path in sorted(folder.glob(f"*{_ENDING}"))}
    if not sizes:
        return None
    newest = max(sizes, key=lambda path: (sizes[path], path.name))
    return open_kept(newest, verifier_key)


def find_previous(folder: Path, verifier_key: str, is_first: bool) -> KeptCheckpoint | None:
    """The checkpoint of a folder that the next one has to extend; None only where it is the first.

    Raises:
        RefusedError: nothing older is there, though one is not the first, or the other way round.
        TrustError: as :func:`find_newest`.
    """
    newest = find_newest(folder, verifier_key)
    if newest and is_first:
        raise RefusedError(
            f"{folder} has a checkpoint, {newest.path.name}, and --first says that there is none; "
            "nothing was signed. Leave out --first, so that the next one extends it, or name "
            "another folder."
        )
    if not newest and not is_first:
        what = "has no checkpoint" if folder.is_dir() else "is no folder"
        raise RefusedError(
            f"{folder} {what}, so nothing shows that the log was not written anew since it was "
            "last signed; nothing was signed. Name the folder that has the older checkpoints. Only "
            "where the log was never signed before: --first, which begins such a folder."
        )
    return newest


def name_checkpoint(checkpoint: Checkpoint, at: datetime | None = None) -> str:
    """A name for a file, so that names sort by size and then by time."""
    time = (at or datetime.now(UTC)).astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"{checkpoint.tree_size:0{_SIZE_DIGITS}}-{time}{_ENDING}"


def proof_path(path: Path) -> Path:
    """Where the consistency proof of a checkpoint's file lies: beside it."""
    return path.with_name(f"{path.name}.consistency")


def refuse_existing(path: Path) -> None:
    """Say before any work that neither checkpoint nor proof will be written over another.

    Raises:
        RefusedError: there is such a file.
    """
    for each in (path, proof_path(path)):
        if os.path.lexists(each):
            raise _exists(each)


def write_with_proof(path: Path, note: str, proof: str | None) -> None:
    """Write a new checkpoint, and before it the proof that it extends another where there is one.

    Raises:
        RefusedError: there is such a file.
    """
    if proof is not None:
        write_new(proof_path(path), proof)
    try:
        write_new(path, note)
    except (OSError, RefusedError):
        if proof is not None:
            proof_path(path).unlink()
        raise


def write_new(path: Path, text: str) -> None:
    """Write a new file, and see it on the disk; never over another.

    Raises:
        RefusedError: there is such a file.
    """
    try:
        with writing(path), path.open("xb") as file:
            try:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                # Part of a checkpoint would pass for a broken one later.
                path.unlink()
                raise
    except FileExistsError as error:
        raise _exists(path) from error


def _exists(path: Path) -> RefusedError:
    return RefusedError(
        f"{path} exists already, and kept checkpoints are never overwritten; nothing was written. "
        "Name another file, or a folder with --folder."
    )


def _stated_size(path: Path) -> int:
    try:
        text = read_text(path)
        return Checkpoint.from_text(text.partition("\n\n")[0] + "\n").tree_size
    except (OSError, StepAuditError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is something else"
        raise TrustError(
            f"{path} is called like a checkpoint and cannot be read as one: {reason}; nothing was "
            "signed. Take it out of the folder, or put the whole checkpoint in its place."
        ) from error
