"""What a monitoring system asks a watch for: when it did what last, and which alarms stand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from step_audit.errors import StepAuditError
from step_audit.trust.alarms import TO_DO
from step_audit.trust.watch import Watch

_TOLD = {
    "sealed": ("last_seal", "When all that was committed had been sealed."),
    "verified": ("last_verify", "When what is new was verified last."),
    "verified_all": ("last_verify_of_all", "When everything was verified last."),
    "signed": (
        "last_checkpoint",
        "When the newest checkpoint was signed or still the head.",
    ),
}


@contextmanager
def serving_metrics(watch: Watch, host: str, port: int) -> Iterator[str]:
    """Within, answer at ``/metrics``; gives the address.

    Raises:
        StepAuditError: the address cannot be taken.
    """
    registry = CollectorRegistry()
    registry.register(_OfWatch(watch))
    ProcessCollector(registry=registry)
    try:
        server, thread = start_http_server(port, host, registry)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StepAuditError(f"cannot listen on {host} port {port}: {reason}.") from error
    try:
        yield f"http://{host}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _OfWatch(Collector):
    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def collect(self) -> Iterator[Metric]:
        for name, when in asdict(self._watch.times).items():
            if when is not None:
                metric, told = _TOLD[name]
                yield GaugeMetricFamily(f"step_audit_watch_{metric}_timestamp_seconds", told, when)
        alarms = GaugeMetricFamily(
            "step_audit_watch_alarm",
            "1 for each kind of alarm that stands, else 0.",
            labels=["kind"],
        )
        standing = set(self._watch.standing.alarms)
        for kind in TO_DO:
            alarms.add_metric([kind], float(kind in standing))
        yield alarms
