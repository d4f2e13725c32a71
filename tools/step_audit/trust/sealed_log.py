"""The sealed log of a database: whether it is a checkpoint's, and the proof of one record."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from step_audit.database import Connection, call
from step_audit.errors import RefusedError
from step_audit.trust.checkpoint import Checkpoint, open_checkpoint
from step_audit.trust.leaf import Opening
from step_audit.trust.proof import build_proof, verify_proof, write_proof


def check_log(conn: Connection, schema: str, checkpoint_note: str, verifier_key: str) -> Checkpoint:
    """Check that the log begins with the one of a checkpoint; gives the checkpoint.

    Raises:
        TrustError: the checkpoint or the key cannot be read, or the checkpoint is not signed by it.
        RefusedError: the log has changed since.
    """
    checkpoint = open_checkpoint(checkpoint_note, verifier_key)
    size = checkpoint.tree_size
    heads = call(conn, schema, "get_step_audit_tree_head", p_tree_size=size)
    if [(head["tree_size"], head["root_hash"]) for head in heads] != [(size, checkpoint.root_hash)]:
        raise RefusedError(
            f"the log in schema {schema} is not the one of the checkpoint: its first {size} "
            "records have another root. Either records were changed, and 'step-audit verify' "
            "names them, or the checkpoint is of another database."
        )
    return checkpoint


def make_proof(
    conn: Connection,
    schema: str,
    audit_uuid: UUID,
    checkpoint_note: str,
    verifier_key: str,
    with_result: bool = True,
) -> str:
    """Prove that an audit row stands in the log of a checkpoint; gives the proof's JSON text.

    Raises:
        TrustError: the checkpoint or the key cannot be read, or the checkpoint is not signed by it.
        RefusedError: the log has changed since, or had no such row then; or the result was erased.
    """
    size = check_log(conn, schema, checkpoint_note, verifier_key).tree_size
    rows = call(conn, schema, "get_step_audit_proof", p_audit_uuid=audit_uuid, p_tree_size=size)
    if not rows:
        raise RefusedError(
            f"audit row {audit_uuid} is not among the {size} records of the checkpoint. "
            "Run 'step-audit seal' and 'step-audit checkpoint', and prove it by the new checkpoint."
        )
    (row,) = rows
    if row["leaf"] is None:
        raise RefusedError(
            f"what audit row {audit_uuid} was sealed with is not there any more. "
            "'step-audit verify' names what is missing."
        )
    if row["salt"] is None and with_result:
        (erasure,) = call(conn, schema, "get_step_audit_erasure", p_audit_uuid=audit_uuid)
        raise RefusedError(_erased(audit_uuid, erasure))
    opening = Opening(row["salt"], row["recorded_by"], row["payload"]) if with_result else None
    text = write_proof(build_proof(row["leaf"], opening, row["path"], checkpoint_note))
    verify_proof(text, verifier_key)
    return text


def _erased(audit_uuid: UUID, erasure: dict[str, Any]) -> str:
    for_whom = f" for {erasure['operator']}" if erasure["operator"] else ""
    return (
        f"the result of audit row {audit_uuid} was erased at "
        f"{erasure['recorded_at']:%Y-%m-%d %H:%M:%S} UTC by {erasure['recorded_by']}{for_whom}: "
        f"{erasure['reason']}. What it was cannot be proved any more, but by a proof that was made "
        "before. Prove the rest with --without-result."
    )
