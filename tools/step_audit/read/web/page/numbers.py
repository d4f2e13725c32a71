"""What the metrics say to a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

# As get_step_audit_metrics() counts: beyond, it does not go on.
_COUNTED = 10_000


@dataclass(frozen=True)
class Numbers:
    """How far results are audited and sealed; None where that is not known without a long look.

    ``records`` are about so many; ``unsealed`` is a count, or a bound as text.
    """

    records: int
    sealed: int
    last_seal: datetime | None
    unsealed: str | None
    oldest_unsealed: timedelta | None
    recent_unaudited: int | None


def read_numbers(rows: Iterable[Mapping[str, Any]]) -> Numbers:
    """The numbers of the rows of ``get_step_audit_metrics()``."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row["metric"] != "records" or row["label"] == "result":
            found.setdefault(row["metric"], []).append(row["value"])
    (sealed_at,) = found.get("last_seal_epoch", [None])
    (oldest,) = found.get("oldest_unsealed_seconds", [None])
    (unaudited,) = found.get("recent_unaudited", [None])
    return Numbers(
        records=int(found["records"][0]),
        sealed=int(found["sealed"][0]),
        last_seal=None if sealed_at is None else datetime.fromtimestamp(sealed_at, UTC),
        unsealed=_count(found["unsealed"]) if "unsealed" in found else None,
        oldest_unsealed=None if oldest is None else timedelta(seconds=oldest),
        recent_unaudited=None if unaudited is None else int(unaudited),
    )


def _count(counts: list[float]) -> str:
    whole = f"{int(sum(counts)):,}"
    return f"at least {whole}" if max(counts) >= _COUNTED else whole
