"""What a verified proof says, for people and for programs."""

from __future__ import annotations

from typing import Any

from step_audit.trust.encoding import encode_base64
from step_audit.trust.leaf import Scalar
from step_audit.trust.proof import ProvedRecord


def as_lines(proved: ProvedRecord) -> dict[str, Scalar]:
    """The claims that hold, by name."""
    audit, transition, checkpoint = proved.leaf.audit, proved.leaf.transition, proved.checkpoint
    shown = "none" if proved.metadata is None else "as sealed"
    return {
        "audit row": audit["workflow_step_result_audit_uuid"],
        "step": audit["workflow_step_uuid"],
        "transition": f"{audit['workflow_step_transition_uuid']} to {transition['to_state']}",
        "worker": audit["worker_uuid"],
        "success": audit["success"],
        "recorded at, UTC": audit["recorded_at"],
        "result": "withheld" if proved.withheld else shown,
        "log": checkpoint.origin,
        "place in the log": f"{proved.leaf.index} of {checkpoint.tree_size}, counted from 0",
    }


def as_document(proved: ProvedRecord) -> dict[str, Any]:
    """The whole record, as JSON; ``metadata`` is null where there is none or it is withheld."""
    checkpoint = proved.checkpoint
    return {
        "audit": dict(proved.leaf.audit),
        "transition": dict(proved.leaf.transition),
        "metadata": proved.metadata,
        "metadata_withheld": proved.withheld,
        "leaf_index": proved.leaf.index,
        "checkpoint": {
            "origin": checkpoint.origin,
            "tree_size": checkpoint.tree_size,
            "root_hash": encode_base64(checkpoint.root_hash),
        },
    }
