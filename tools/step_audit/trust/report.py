"""What a verified proof says, for people and for programs."""

from __future__ import annotations

from typing import Any

from step_audit.trust.encoding import encode_base64
from step_audit.trust.leaf import UNPRINTABLE, Scalar
from step_audit.trust.proof import ProvedRecord


def as_lines(proved: ProvedRecord) -> dict[str, Scalar]:
    """The claims that hold, by name."""
    audit, transition, checkpoint = proved.leaf.audit, proved.leaf.transition, proved.checkpoint
    return {
        "audit row": audit["workflow_step_result_audit_uuid"],
        "step": audit["workflow_step_uuid"],
        "transition": f"{audit['workflow_step_transition_uuid']} to {transition['to_state']}",
        "worker": audit["worker_uuid"],
        "success": audit["success"],
        "recorded at, UTC": audit["recorded_at"],
        "recorded by": proved.opening.recorded_by if proved.opening else "withheld",
        "result": _result(proved),
        "log": checkpoint.origin,
        "place in the log": f"{proved.leaf.index} of {checkpoint.tree_size}, counted from 0",
    }


def as_document(proved: ProvedRecord) -> dict[str, Any]:
    """The whole record, as JSON; ``opening`` is null where the private part is withheld."""
    checkpoint = proved.checkpoint
    return {
        "kind": proved.leaf.kind,
        "audit": dict(proved.leaf.audit),
        "transition": dict(proved.leaf.transition),
        "opening": _opening(proved),
        "leaf_index": proved.leaf.index,
        "checkpoint": {
            "origin": checkpoint.origin,
            "tree_size": checkpoint.tree_size,
            "root_hash": encode_base64(checkpoint.root_hash),
        },
    }


def _result(proved: ProvedRecord) -> str:
    if not proved.opening:
        return "withheld"
    if proved.opening.payload is None:
        return "none"
    return "too large to be sealed" if proved.leaf.kind == UNPRINTABLE else "as sealed"


def _opening(proved: ProvedRecord) -> dict[str, Scalar] | None:
    if not proved.opening:
        return None
    return {"recorded_by": proved.opening.recorded_by, "payload": proved.opening.payload}
