"""Events as a real engine writes them: tagged, as JSON text or as an object, of several sizes."""

from __future__ import annotations

import json
import random
from typing import Any

SIZES = {"0.3 KB": 300, "1 KB": 1000, "16 KB": 16_000, "256 KB": 256_000}
KINDS = ("text", "object")
RESULT = "enqueued_for_orchestration"

_LARGE = 10_000
_ATTRIBUTION = {
    "worker_uuid": "01a204ab-989e-7623-8e8b-a620c66a2ac7",
    "correlation_id": "e4e34137-751a-48c7-9991-46299c2ea513",
}

# A transition that is not audited, and its event.
START = "start"
STARTED = "in_progress"

# Another, which an operator may have led to.
COMPLETE = "completion"
COMPLETED = "complete"

# A result without success.
FAILURE = "failure"
FAILED = "enqueued_as_error_for_orchestration"


def name(kind: str, size: str) -> str:
    """What an event is called in the tables, for instance ``text, 1 KB``."""
    return f"{kind}, {size}"


def all_events() -> dict[str, dict[str, Any]]:
    """Metadata by name; the attribution is put in later, but for large events."""
    failure = {"type": "EnqueueAsErrorForOrchestration", "data": _event(300)["data"]}
    failure["data"] |= {"status": "failed", "success": False}
    metadata: dict[str, dict[str, Any]] = {
        START: {"event": '{"type":"Start"}'},
        COMPLETE: {"event": '{"type":"Complete","data":{"success":true}}'},
        FAILURE: {"event": json.dumps(failure, separators=(",", ":"))},
    }
    for size, characters in SIZES.items():
        event = _event(characters)
        metadata[name("text", size)] = {"event": json.dumps(event, separators=(",", ":"))}
        metadata[name("object", size)] = {"event": event}
        if characters > _LARGE:
            for kind in KINDS:
                metadata[name(kind, size)] |= _ATTRIBUTION
    return metadata


def _event(characters: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    data: dict[str, Any] = {
        "metadata": {"execution_time_ms": 12, "retryable": False},
        "result": result,
        "status": "completed",
        "step_uuid": "01a204ab-9908-7940-8bc1-6860a0c4d8f0",
        "success": True,
    }
    if characters > 600:
        # All members, in the order in which the engine writes them.
        data["metadata"] = {
            "completed_at": "2026-11-22T19:11:24.736822759Z",
            "context": {},
            "custom": {},
            "error_code": None,
            "error_type": None,
            "execution_time_ms": 12,
            "handler_version": None,
            "retryable": False,
            "started_at": None,
            "worker_hostname": None,
            "worker_id": None,
        }
        middle = {"metadata": data.pop("metadata"), "orchestration_metadata": None}
        data = {"error": None} | middle | data
    event = {"type": "EnqueueForOrchestration", "data": data}
    # Half of a value is chance, half is words: so it compresses about as results do.
    chance = random.Random(characters)
    length = len(json.dumps(event, separators=(",", ":")))
    while length < characters:
        number = len(result)
        key, value = f"item_{number}", f"payment {chance.getrandbits(64):016x} accepted"
        result[key] = value
        length += len(key) + len(value) + 6
    return event
