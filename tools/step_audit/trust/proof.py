"""A proof that one record stands in the sealed log: a JSON file that needs no database to check."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from step_audit.errors import NotProvedError, TrustError
from step_audit.trust.checkpoint import Checkpoint, open_checkpoint
from step_audit.trust.encoding import decode_base64, encode_base64, read_json
from step_audit.trust.leaf import Leaf, Opening
from step_audit.trust.merkle import HASH_SIZE, leaf_hash, root_from_inclusion_path

FORMAT = "step-audit-proof/2"

_MEMBERS = {"format", "record", "leaf_index", "leaf_hash", "inclusion_path", "checkpoint"}
_RECORD = {"kind", "audit", "transition", "commitment"}
_OPENING = {"salt", "recorded_by", "payload"}


@dataclass(frozen=True, slots=True)
class Proof:
    """What a proof holds; ``opening`` is None where the private part of the record is withheld."""

    leaf: Leaf
    opening: Opening | None
    leaf_hash: bytes
    inclusion_path: tuple[bytes, ...]
    checkpoint_note: str


@dataclass(frozen=True, slots=True)
class ProvedRecord:
    """A record that stands in the log of ``checkpoint``; ``opening`` as in a proof."""

    leaf: Leaf
    opening: Opening | None
    checkpoint: Checkpoint


def build_proof(
    leaf_text: str, opening: Opening | None, path: Sequence[bytes], checkpoint_note: str
) -> Proof:
    """Put together what the database gives; without ``opening`` the private part is withheld.

    Raises:
        TrustError: the leaf is not in its canonical form.
    """
    leaf = Leaf.from_text(leaf_text)
    return Proof(leaf, opening, leaf_hash(leaf.to_bytes()), tuple(path), checkpoint_note)


def write_proof(proof: Proof) -> str:
    """The proof as JSON text, in ASCII."""
    leaf, opening = proof.leaf, proof.opening
    document: dict[str, Any] = {
        "format": FORMAT,
        "record": {
            "kind": leaf.kind,
            "audit": dict(leaf.audit),
            "transition": dict(leaf.transition),
            "commitment": leaf.commitment,
        },
        "leaf_index": leaf.index,
        "leaf_hash": encode_base64(proof.leaf_hash),
        "inclusion_path": [encode_base64(each) for each in proof.inclusion_path],
        "checkpoint": proof.checkpoint_note,
    }
    if opening:
        document["opening"] = {
            "salt": encode_base64(opening.salt),
            "recorded_by": opening.recorded_by,
            "payload": opening.payload,
        }
    return json.dumps(document, indent=2) + "\n"


def read_proof(text: str) -> Proof:
    """Read a proof; nothing in it is checked but its form.

    Raises:
        TrustError: it is not a proof, or not in this form.
    """
    try:
        return _read(read_json(text))
    except ValueError as error:
        raise TrustError(
            f"the proof cannot be read: {error}; nothing was checked. Get it anew, as a whole."
        ) from error


def verify_proof(text: str, verifier_key: str) -> ProvedRecord:
    """Check a proof by the log's public key: the record, its result, its place and the signature.

    Raises:
        TrustError: the proof or the key cannot be read.
        NotProvedError: the proof is false.
    """
    proof = read_proof(text)
    checkpoint = open_checkpoint(proof.checkpoint_note, verifier_key)
    if proof.opening and proof.opening.commitment() != proof.leaf.commitment:
        raise _false("its opening is not what was sealed")
    if leaf_hash(proof.leaf.to_bytes()) != proof.leaf_hash:
        raise _false("its record is not the one of its leaf hash")
    try:
        root = root_from_inclusion_path(
            proof.leaf.index, checkpoint.tree_size, proof.leaf_hash, proof.inclusion_path
        )
    except ValueError as error:
        raise _false(str(error)) from error
    if root != checkpoint.root_hash:
        raise _false("its path does not lead to the root that was signed")
    return ProvedRecord(proof.leaf, proof.opening, checkpoint)


def _read(document: Any) -> Proof:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f"it is no JSON object of the format {FORMAT}")
    if document.keys() - {"opening"} != _MEMBERS:
        raise ValueError(f"it does not have just the members {', '.join(sorted(_MEMBERS))}")
    record = document["record"]
    if not isinstance(record, dict) or record.keys() != _RECORD:
        raise ValueError(f"its record does not have just the members {', '.join(sorted(_RECORD))}")
    path = document["inclusion_path"]
    if not isinstance(path, list):
        raise ValueError("inclusion_path is not an array")
    return Proof(
        Leaf(
            record["kind"],
            document["leaf_index"],
            record["audit"],
            record["transition"],
            record["commitment"],
        ),
        _opening(document["opening"]) if "opening" in document else None,
        _hash(document["leaf_hash"]),
        tuple(_hash(each) for each in path),
        _text(document, "checkpoint"),
    )


def _opening(value: object) -> Opening:
    if not isinstance(value, dict) or value.keys() != _OPENING:
        raise ValueError(
            f"its opening does not have just the members {', '.join(sorted(_OPENING))}"
        )
    salt = decode_base64(_text(value, "salt"))
    return Opening(salt, value["recorded_by"], value["payload"])


def _text(document: dict[str, Any], name: str) -> str:
    value = document[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} is not text")
    return value


def _hash(value: object) -> bytes:
    found = decode_base64(value) if isinstance(value, str) else b""
    if len(found) != HASH_SIZE:
        raise ValueError(f"a hash is not the base64 of {HASH_SIZE} bytes")
    return found


def _false(reason: str) -> NotProvedError:
    return NotProvedError(f"the proof is false: {reason}. Do not rely on the record in it.")
