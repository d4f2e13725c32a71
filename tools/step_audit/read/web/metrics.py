"""What a monitoring system asks for, in Prometheus' formats: the audit's numbers, and our own."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ESTIMATED = "exact while the table has at most 8 MB, beyond an estimate of the server's"

_FAILED = "500"


@dataclass(frozen=True)
class _Gauge:
    """A metric of the function ``get_step_audit_metrics``: its name here, and what it tells."""

    name: str
    told: str
    label: str | None = None


_GAUGES = {
    "attached": _Gauge("step_audit_attached", "1 if results are audited as installed, else 0."),
    "trigger_enabled": _Gauge("step_audit_trigger_enabled", "1 if the trigger fires, else 0."),
    "records": _Gauge("step_audit_records", f"Records by kind: {_ESTIMATED}.", "kind"),
    "anomalies": _Gauge(
        "step_audit_anomalies",
        f"Fields of results that could not be read: {_ESTIMATED}, shared out by a sample.",
        "field",
    ),
    "bytes": _Gauge(
        "step_audit_table_bytes", "Bytes of a table with its indexes, as on disk.", "table"
    ),
    "sealed": _Gauge("step_audit_sealed_records", "Records in the log."),
    "last_seal_epoch": _Gauge(
        "step_audit_last_seal_timestamp_seconds", "When the newest seal was made."
    ),
    "unsealed": _Gauge(
        "step_audit_unsealed_records",
        "Records that no seal covers; of each kind counted up to 10000.",
        "kind",
    ),
    "oldest_unsealed_seconds": _Gauge(
        "step_audit_oldest_unsealed_age_seconds",
        "Age of the oldest of the unsealed records that were counted; 0 without any.",
    ),
    "recent_unaudited": _Gauge(
        "step_audit_recent_unaudited_results",
        "Results without an audit row among the 10000 transitions with the greatest keys, the "
        "newest where keys are UUIDv7; 'step-audit status' counts all.",
    ),
}


class Metrics:
    """The metrics of one application."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._times = Histogram(
            "step_audit_http_request_duration_seconds",
            "Time until the end of a reply, by route and status.",
            ["route", "status"],
            registry=self._registry,
        )

    def observe(self, route: str, status: str, seconds: float) -> None:
        """Take in a request."""
        self._times.labels(route, status).observe(seconds)

    def render(self, rows: Iterable[dict[str, Any]] | None, accept: str) -> tuple[bytes, str]:
        """Write all of it; gives the content type too.

        Args:
            rows: what ``get_step_audit_metrics`` gave; None where the database did not answer.
            accept: what the caller can read, as in its header.
        """
        encode, content_type = choose_encoder(accept)
        all_of_it = CollectorRegistry()
        all_of_it.register(_Found([*_families(rows), *self._registry.collect()]))
        return encode(all_of_it), content_type


class _Found(Collector):
    """Metrics that were found already."""

    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> list[Metric]:
        return self._found


def _families(rows: Iterable[dict[str, Any]] | None) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "step_audit_up", "1 if the database answered, else 0.", 0 if rows is None else 1
    )
    families: dict[str, GaugeMetricFamily] = {}
    for row in rows or ():
        gauge = _GAUGES[row["metric"]]
        if gauge.name not in families:
            labels = [gauge.label] if gauge.label else None
            families[gauge.name] = GaugeMetricFamily(gauge.name, gauge.told, labels=labels)
        families[gauge.name].add_metric([row["label"]] if gauge.label else [], row["value"])
    yield from families.values()


class RequestTimes:
    """Observes how long each request takes, until the end of its reply."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        status = _FAILED

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            # What is asked for at no route has no name of ours: there is no end to such names.
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.observe(route, status, time.perf_counter() - start)
