"""Check step-audit proofs and logs by what the page sealing.md says, and by nothing else."""

import json
import re
from base64 import b64decode, b64encode
from hashlib import sha256, sha512
from typing import Any

# Members in order: s text, t time, b boolean, n whole number, o object, a array; "?" may be null.
AUDIT = """workflow_step_result_audit_uuid:s workflow_step_uuid:s workflow_step_transition_uuid:s
    task_uuid:s recorded_at:t worker_uuid:s? correlation_id:s? success:b backfilled:b
    execution_time_ms:n? created_at:t updated_at:t recorded_xid:n"""
TRANSITION = "workflow_step_uuid:s from_state:s? to_state:s created_at:t?"
RECORD = "kind:s audit:o transition:o commitment:s"
OPENING = "salt:s recorded_by:s? payload:s?"
PROOF = "format:s record:o leaf_index:n leaf_hash:s inclusion_path:a checkpoint:s"
TYPES = {"s": str, "t": str, "b": bool, "n": int, "o": dict, "a": list}
PRINTED: dict[str, Any] = {"s": str, "n": int, "b": {"t": True, "f": False}.get}
PRINTED["t"] = lambda text: text.replace(" ", "T", 1).replace("+00", "", 1)
P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493  # RFC 8032, section 5.1
D = -121665 * pow(121666, -1, P) % P


def _check(truth: object, what: str) -> None:
    if not truth:
        raise ValueError(what)


def _members(value: Any, columns: str, what: str) -> list[Any]:
    """Return the members of a JSON object in order; it must have these and no others."""
    kinds = dict(column.split(":") for column in columns.split())
    _check(isinstance(value, dict) and set(value) == set(kinds), f"{what}: not its members")
    for name, kind in kinds.items():
        fits = type(value[name]) is TYPES[kind[0]] or (value[name] is None and kind[1:])
        _check(fits, f"{what}: {name} is of a wrong type")
    return [value[name] for name in kinds]


def _base64(text: Any, length: int, what: str) -> bytes:
    data = b64decode(text, validate=True) if isinstance(text, str) else b""
    _check(len(data) == length and b64encode(data).decode() == text, f"{what}: malformed base64")
    return data


def _point(data: bytes) -> tuple[int, int]:
    y = int.from_bytes(data, "little") % 2**255
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x if x * x % P == square else x * pow(2, (P - 1) // 4, P) % P
    _check(y < P and x * x % P == square and (x or data[31] < 128), "not a point of the curve")
    return (x if x & 1 == data[31] >> 7 else P - x), y


def _add(p: tuple[int, int], q: tuple[int, int]) -> tuple[int, int]:
    x, y, t = p[0] * q[1] + q[0] * p[1], p[1] * q[1] + p[0] * q[0], D * p[0] * p[1] * q[0] * q[1]
    return x * pow(1 + t, -1, P) % P, y * pow(1 - t, -1, P) % P


def _times(n: int, p: tuple[int, int]) -> tuple[int, int]:
    return _add(_times(n >> 1, _add(p, p)), p if n & 1 else (0, 1)) if n else (0, 1)


def _signed(key: bytes, message: bytes, signature: bytes) -> bool:
    """Verify an Ed25519 signature (RFC 8032, section 5.1.7)."""
    s = int.from_bytes(signature[32:], "little")
    k = int.from_bytes(sha512(signature[:32] + key + message).digest(), "little") % L
    base = _point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
    return s < L and _times(s, base) == _add(_point(signature[:32]), _times(k, _point(key)))


def _checkpoint(note: str, public_key: str) -> tuple[int, bytes]:
    """Verify a signed note; return its number of leaves and its root."""
    name, key_id, text = ([*public_key.strip().split("+", 2), "", ""])[:3]
    key = _base64(text, 33, "public key")
    identity = sha256(name.encode() + b"\n" + key).digest()[:4]
    _check(key[0] == 1 and identity.hex() == key_id, "the public key's id or kind is false")
    body, _, tail = note.rpartition("\n\n")
    _check(re.fullmatch(r"(— [^\s+]+ [A-Za-z0-9+/]+=*\n)+", tail), "not a signed note")
    words = [line.split(" ") for line in tail[:-1].split("\n")]
    ours = [w[2] for w in words if w[1] == name and b64decode(w[2])[:4] == identity]
    _check(ours, "the checkpoint is not signed by this key")
    for signature in (_base64(item, 68, "signature")[4:] for item in ours):
        _check(_signed(key[1:], f"{body}\n".encode(), signature), "the signature is false")
    lines = body.split("\n")
    _check(len(lines) > 2 and all(lines) and lines[0] == name, "not a checkpoint of this origin")
    _check(re.fullmatch("0|[1-9][0-9]*", lines[1]), "malformed number of leaves")
    return int(lines[1]), _base64(lines[2], 32, "root")


def _commitment(salt: bytes, recorded_by: str | None, payload: str | None) -> str:
    _check(len(salt) == 16, "the salt is not of 16 bytes")
    author = json.dumps(recorded_by, ensure_ascii=False)
    return sha256(salt + f"{author}\n{payload or ''}".encode()).hexdigest()


def _leaf_hash(index: int, record: Any) -> bytes:
    kind, audit, transition, commitment = _members(record, RECORD, "record")
    _check(kind in ("result", "unprintable result"), f"unknown kind {kind!r}")
    row = _members(audit, AUDIT, "audit") + _members(transition, TRANSITION, "transition")
    leaf = json.dumps(["step-audit 2", kind, index, *row, commitment], ensure_ascii=False)
    return sha256(b"\0" + leaf.encode()).digest()


def _root(hashes: list[bytes]) -> bytes:
    if len(hashes) < 2:
        return hashes[0] if hashes else sha256().digest()
    half = 1 << (len(hashes) - 1).bit_length() - 1
    return sha256(b"\1" + _root(hashes[:half]) + _root(hashes[half:])).digest()


def verify_proof(text: str, public_key: str) -> dict[str, Any]:
    """Check a JSON proof and return its record; ValueError says what is false."""
    proof = json.loads(text)
    columns = PROOF + " opening:o" * (isinstance(proof, dict) and "opening" in proof)
    form, record, index, leaf_hash, path, note, *opening = _members(proof, columns, "proof")
    _check(form == "step-audit-proof/2", "unknown format")
    size, root = _checkpoint(note, public_key)
    node = _leaf_hash(index, record)
    if opening:
        salt, author, payload = _members(opening[0], OPENING, "opening")
        commitment = _commitment(_base64(salt, 16, "salt"), author, payload)
        _check(commitment == record["commitment"], "the opening does not give the commitment")
    _check(_base64(leaf_hash, 32, "leaf_hash") == node, "leaf_hash is not that of the record")
    inner = (index ^ (size - 1)).bit_length()  # above this height all siblings are left ones
    fits = 0 <= index < size and len(path) == inner + (index >> inner).bit_count()
    _check(fits, "the leaf is not in the checkpoint's log, or its path has a wrong length")
    for height, sibling in enumerate(_base64(item, 32, "path") for item in path):
        left = height >= inner or index >> height & 1
        node = sha256(b"\1" + (sibling + node if left else node + sibling)).digest()
    _check(node == root, "the inclusion path does not lead to the signed root")
    return dict(record)


def verify_log(leaves: list[dict[str, Any]], note: str, public_key: str) -> int:
    """Recompute the log up to a checkpoint; return the number of leaves that were checked."""
    size, root = _checkpoint(note, public_key)
    _check(len(leaves) >= size, f"the log is shorter than the checkpoint, {len(leaves)} < {size}")
    hashes: list[bytes] = []
    for index, row in enumerate(leaves[:size]):
        _check(int(row["leaf_index"]) == index, f"leaf {index} is missing or out of order")
        record: dict[str, Any] = {"kind": row["kind"]}
        for member, columns, prefix in (("audit", AUDIT, ""), ("transition", TRANSITION, "t_")):
            kinds = (column.split(":") for column in columns.split())
            cells = ((name, row[prefix + name], PRINTED[kind[0]]) for name, kind in kinds)
            record[member] = {name: cell and read(cell) for name, cell, read in cells}
        record["commitment"] = _commitment(row["salt"], row["recorded_by"], row["payload"])
        hashes.append(_leaf_hash(index, record))
    _check(_root(hashes) == root, "the log does not have the signed root")
    return size
