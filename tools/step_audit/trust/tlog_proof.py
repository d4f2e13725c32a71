"""The proof of one record in C2SP's form: c2sp.org/tlog-proof.

Its extra data is base64 of a JSON object: ``leaf`` is the sealed record, whose bytes are hashed,
and what else a proof in JSON shows of the record stands there as it does in JSON.
"""

from __future__ import annotations

import json
import re

from step_audit.errors import TrustError
from step_audit.trust.encoding import decode_base64, encode_base64, read_json
from step_audit.trust.merkle import HASH_SIZE
from step_audit.trust.proof import build_proof, read_proof, write_proof

_FIRST = "c2sp.org/tlog-proof@v1"
_EXTRA = "extra "
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")
# Members of the JSON form that stand elsewhere in this one, or follow from the leaf.
_ELSEWHERE = {"format", "record", "leaf_index", "leaf_hash", "inclusion_path", "checkpoint"}


def is_tlog_proof(text: str) -> bool:
    """Whether a text is meant to be a proof in this form."""
    return text.startswith(_FIRST)


def to_tlog_proof(proof_text: str) -> str:
    """Write a proof that is in JSON in this form.

    Raises:
        TrustError: it is no proof in JSON.
    """
    proof = read_proof(proof_text)
    document = json.loads(proof_text)
    shown = {name: document[name] for name in document.keys() - _ELSEWHERE}
    extra = json.dumps({"leaf": proof.leaf.to_text()} | shown)
    lines = [
        _FIRST,
        _EXTRA + encode_base64(extra.encode()),
        f"index {proof.leaf.index}",
        *map(encode_base64, proof.inclusion_path),
        "",
        proof.checkpoint_note,
    ]
    return "\n".join(lines)


def from_tlog_proof(text: str) -> str:
    """Read a proof in this form; gives it in JSON, and checks nothing but its form.

    Raises:
        TrustError: it is something else, or no proof of a record of step-audit.
    """
    try:
        return _read(text)
    except ValueError as error:
        raise TrustError(
            f"the proof cannot be read: {error}; nothing was checked. Get it anew, as a whole."
        ) from error


def _read(text: str) -> str:
    head, empty_line, note = text.partition("\n\n")
    first, *lines = head.split("\n")
    if first != _FIRST or not empty_line:
        raise ValueError(f"it is no {_FIRST} with a checkpoint after an empty line")
    if not lines or not lines[0].startswith(_EXTRA):
        raise ValueError("it has no extra data, where the record stands")
    index = _INDEX.fullmatch(lines[1]) if len(lines) > 1 else None
    if not index:
        raise ValueError("its third line is not the index of a record")
    path = [decode_base64(line) for line in lines[2:]]
    if any(len(each) != HASH_SIZE for each in path):
        raise ValueError(f"a hash is not the base64 of {HASH_SIZE} bytes")
    extra = read_json(decode_base64(lines[0].removeprefix(_EXTRA)).decode())
    if not isinstance(extra, dict) or not isinstance(extra.get("leaf"), str):
        raise ValueError("its extra data is no JSON object with a leaf")
    proof = build_proof(extra.pop("leaf"), None, path, note)
    if proof.leaf.index != int(index[1]):
        raise ValueError("its index is not the one of its record")
    if extra.keys() & _ELSEWHERE:
        raise ValueError("its extra data has members that stand elsewhere")
    return write_proof(read_proof(json.dumps(json.loads(write_proof(proof)) | extra)))
