"""Failures and durations over time, of a worker or of steps of a name."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from markupsafe import Markup

from step_audit.database import call_async
from step_audit.read.web.page.plots import plot
from step_audit.read.web.pool import Conn

_DAYS = 30
# Shorter ranges are shown by the hour.
_BY_THE_DAY = timedelta(days=4)

# No more of the newest results are read.
READ = 10_000


@dataclass(frozen=True)
class Span:
    """What was recorded from ``at`` on, for a day or an hour; durations are None if not known."""

    at: datetime
    results: int
    failures: int
    median_ms: int | None
    p95_ms: int | None

    @property
    def failure_percent(self) -> float:
        """The part of the results that failed."""
        return 100 * self.failures / self.results


@dataclass(frozen=True)
class Rates:
    """Spans with results, oldest first, from a range of time."""

    since: datetime
    until: datetime
    width: timedelta
    spans: list[Span]

    @property
    def results(self) -> int:
        """How many results were read."""
        return sum(span.results for span in self.spans)

    @property
    def failures(self) -> int:
        """How many of them failed."""
        return sum(span.failures for span in self.spans)

    @property
    def is_cut(self) -> bool:
        """Whether there may be more."""
        return self.results >= READ

    @property
    def failure_plot(self) -> Markup:
        """The part that failed."""
        failed = [(span.at, span.failure_percent) for span in self.spans]
        return plot("Failed results in percent, over time", [("failed, %", failed)], self.width)

    @property
    def duration_plot(self) -> Markup:
        """How long results took."""
        named = {"median, ms": "median_ms", "95th percentile, ms": "p95_ms"}
        series = [
            (name, [(s.at, getattr(s, column)) for s in self.spans if s.median_ms is not None])
            for name, column in named.items()
        ]
        return plot("Elapsed milliseconds, median and 95th percentile", series, self.width)


async def read_rates(
    conn: Conn,
    schema: str | None,
    *,
    since: datetime | None,
    until: datetime | None,
    worker_uuid: UUID | None = None,
    step_name: str | None = None,
) -> Rates:
    """What a worker, or steps of a name, did in a range of time; by default the last 30 days."""
    until = until or datetime.now(UTC)
    if since is None:
        first = datetime.min.replace(tzinfo=UTC)
        since = until - min(timedelta(days=_DAYS), until - first)
    width = timedelta(days=1) if until - since >= _BY_THE_DAY else timedelta(hours=1)
    rows = await call_async(
        conn,
        schema,
        "list_step_audit_rates",
        p_worker_uuid=worker_uuid,
        p_step_name=step_name,
        p_recorded_from=since,
        p_recorded_until=until,
        p_width=width,
        p_limit=READ,
    )
    spans = [
        Span(
            row["span_start"].replace(tzinfo=UTC),
            row["results"],
            row["failures"],
            row["median_ms"],
            row["p95_ms"],
        )
        for row in rows
    ]
    return Rates(since, until, width, spans)
