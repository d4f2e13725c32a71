"""Signing the head of a database's log: only where it extends what was signed before."""

from __future__ import annotations

from dataclasses import dataclass

from step_audit.database import Connection, call, transaction
from step_audit.errors import NotProvedError
from step_audit.trust.archive import KeptCheckpoint
from step_audit.trust.checkpoint import Checkpoint, sign_checkpoint
from step_audit.trust.consistency import ConsistencyProof, check_extends, needs_proof
from step_audit.trust.note import SignerKey
from step_audit.trust.seal import check_seal, hash_seal
from step_audit.trust.server import Durability, identify_server, wait_for_standbys


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint, and the proof that it extends the one before where there is one.

    ``durability`` is None where nobody waited for the standbys.
    """

    checkpoint: Checkpoint
    note: str
    proof: ConsistencyProof | None
    durability: Durability | None


def make_checkpoint(
    conn: Connection,
    schema: str,
    signer_key: str,
    previous: KeptCheckpoint | None = None,
    standby_seconds: float | None = None,
) -> SignedCheckpoint:
    """Sign what is sealed now: see :func:`read_head` and :func:`sign_head`."""
    head = read_head(conn, schema, SignerKey.from_text(signer_key).name)
    return sign_head(conn, schema, signer_key, head, previous, standby_seconds)


def read_head(conn: Connection, schema: str, origin: str) -> Checkpoint:
    """The head of the log as the database says it is now, for a checkpoint of ``origin``.

    Args:
        conn: in autocommit.
        schema: where step-audit is installed.
        origin: the name of the log.
    """
    with transaction(conn):
        (head,) = call(conn, schema, "get_step_audit_tree_head")
        seal_hash = _read_seal_hash(conn, schema, head["tree_size"])
    server = identify_server(conn)
    return Checkpoint(
        origin,
        head["tree_size"],
        head["root_hash"],
        server.system_identifier,
        server.timeline,
        seal_hash,
    )


def sign_head(
    conn: Connection,
    schema: str,
    signer_key: str,
    checkpoint: Checkpoint,
    previous: KeptCheckpoint | None = None,
    standby_seconds: float | None = None,
) -> SignedCheckpoint:
    """Sign a head that was read before.

    Args:
        conn: in autocommit.
        schema: where step-audit is installed.
        signer_key: the log's private key.
        checkpoint: the head.
        previous: the checkpoint that the log has to extend.
        standby_seconds: how long to wait until each standby has flushed it; None does not wait.

    Raises:
        TrustError: the key cannot be read.
        NotProvedError: the log does not extend the previous checkpoint, or its seal was altered.
        RefusedError: a standby has not flushed it in time.
    """
    _check_newest_seal(conn, schema, checkpoint)
    path = _prove_extension(conn, schema, previous, checkpoint) if previous else ()
    durability = None
    if standby_seconds is not None:
        durability = wait_for_standbys(conn, identify_server(conn), standby_seconds)
    note = sign_checkpoint(checkpoint, signer_key)
    proof = None
    if previous:
        proof = ConsistencyProof(previous.checkpoint.tree_size, path, note)
    return SignedCheckpoint(checkpoint, note, proof, durability)


def read_consistency_path(
    conn: Connection, schema: str, old: Checkpoint, new: Checkpoint
) -> tuple[bytes, ...]:
    """What the database says to prove that one checkpoint extends another; check it.

    It is empty where the log of the database has no such sizes.
    """
    if not needs_proof(old, new):
        return ()
    with transaction(conn):
        (row,) = call(
            conn,
            schema,
            "get_step_audit_consistency",
            p_old_size=old.tree_size,
            p_new_size=new.tree_size,
        )
    return tuple(row["get_step_audit_consistency"] or ())


def _prove_extension(
    conn: Connection, schema: str, previous: KeptCheckpoint, checkpoint: Checkpoint
) -> tuple[bytes, ...]:
    path = read_consistency_path(conn, schema, previous.checkpoint, checkpoint)
    try:
        check_extends(previous.checkpoint, checkpoint, path)
        _check_seal(conn, schema, previous.checkpoint)
    except ValueError as error:
        raise NotProvedError(
            f"the log in schema {schema} does not extend the checkpoint {previous.path}: {error}; "
            "nothing was signed. Either it is another log or an older copy of it, or it was "
            "changed: 'step-audit verify' with that checkpoint tells."
        ) from error
    return path


def _check_newest_seal(conn: Connection, schema: str, checkpoint: Checkpoint) -> None:
    """See that what is signed can be verified later."""
    with transaction(conn):
        text = _read_seal(conn, schema, checkpoint.tree_size)
    try:
        if text is not None:
            check_seal(text)
        if (None if text is None else hash_seal(text)) != checkpoint.seal_hash:
            raise ValueError("it is not as it was a moment ago")
    except ValueError as error:
        raise NotProvedError(
            f"the seal of {checkpoint.tree_size} leaves in schema {schema} was altered: {error}; "
            "nothing was signed. 'step-audit verify' names it: find out who wrote to the log."
        ) from error


def _check_seal(conn: Connection, schema: str, previous: Checkpoint) -> None:
    if previous.seal_hash is None:
        return
    with transaction(conn):
        found = _read_seal_hash(conn, schema, previous.tree_size)
    if found != previous.seal_hash:
        raise ValueError(f"its seal of {previous.tree_size} leaves was altered since, or is gone")


def _read_seal(conn: Connection, schema: str, tree_size: int) -> str | None:
    (row,) = call(conn, schema, "get_step_audit_seal", p_tree_size=tree_size)
    text: str | None = row["get_step_audit_seal"]
    return text


def _read_seal_hash(conn: Connection, schema: str, tree_size: int) -> bytes | None:
    text = _read_seal(conn, schema, tree_size)
    return None if text is None else hash_seal(text)
