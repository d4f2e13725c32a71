"""Whether the log is the one that was signed: kept checkpoints against the roots of its leaves."""

from __future__ import annotations

from collections.abc import Iterator

from step_audit.errors import UsageError
from step_audit.trust.checkpoint import Checkpoint, open_checkpoint
from step_audit.trust.verify.report import Finding, Signed, Source


def open_signed(checkpoint: str, older: str | None, public_key: str) -> Signed:
    """Check the signatures of a checkpoint, and of an older one.

    Raises:
        TrustError: one of them, or the key, cannot be read, or is not signed by this key.
        UsageError: the older one is newer.
    """
    newer = open_checkpoint(checkpoint, public_key)
    before = open_checkpoint(older, public_key) if older is not None else None
    if before and before.tree_size > newer.tree_size:
        raise UsageError(
            f"the checkpoint to go on from is newer than the one to verify, {before.tree_size} "
            f"records against {newer.tree_size}; nothing was verified. Swap the two, or leave out "
            "--from-checkpoint."
        )
    return Signed(newer, before)


def compare_checkpoint(
    checkpoint: Checkpoint, size: int, root: bytes | None, source: Source
) -> Iterator[Finding]:
    """Compare a checkpoint with the log.

    Args:
        checkpoint: the signed one.
        size: how many leaves the log has.
        root: of the first leaves, as many as the checkpoint has; None where there are fewer.
        source: the server that the log is on now.
    """
    expected = f"{checkpoint.tree_size} leaves, root {checkpoint.root_hash.hex()}"
    if root is None:
        kind, stored = "truncated log", f"{size} leaves"
        lost = f"at least {checkpoint.tree_size - size} records"
    elif root != checkpoint.root_hash:
        kind, stored = "rewritten log", f"{checkpoint.tree_size} leaves, root {root.hex()}"
        lost = f"at most {checkpoint.tree_size} records"
    else:
        return
    failover = _explain(checkpoint, source)
    if failover:
        yield Finding(
            "lost by failover", field=f"{lost}, {failover}", stored=stored, expected=expected
        )
    else:
        yield Finding(kind, stored=stored, expected=expected)


def _explain(checkpoint: Checkpoint, source: Source) -> str | None:
    """The failover that may have lost records since the checkpoint was signed, in words."""
    system, timeline = checkpoint.system_identifier, checkpoint.timeline
    if system is None or timeline is None or str(system) != source.system_identifier:
        return None
    if not source.timeline.isdecimal() or int(source.timeline) <= timeline:
        return None
    return f"timeline {timeline} to {source.timeline} of system {system}"
