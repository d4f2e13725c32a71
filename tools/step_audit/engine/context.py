"""Who did it: what a transition says beside its event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class TransitionContext:
    """The worker and the correlation id that a transition is attributed to; None: not known."""

    worker_uuid: UUID | None = None
    correlation_id: UUID | None = None

    def merge_into(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """The metadata with what is set here added, in the form that the audit trigger reads."""
        known = {"worker_uuid": self.worker_uuid, "correlation_id": self.correlation_id}
        return {**metadata, **{name: str(value) for name, value in known.items() if value}}
