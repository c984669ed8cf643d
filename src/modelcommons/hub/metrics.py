"""metrics: what Prometheus is told: requests by route, status and seconds; bytes in and out."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, multiprocess

# where several processes keep their counts together; prometheus_client reads it when it is imported
SHARED = "PROMETHEUS_MULTIPROC_DIR"
METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
SECONDS = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 600.0)


class Metrics:
    """The counts of one application; of all processes of the hub where these keep them together."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "commons_hub_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "commons_hub_seconds", "From a request's head to the last byte of its answer.", ["route"],
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.bytes_in = Counter("commons_hub_bytes_in", "Bytes of request bodies.", registry=self.registry)
        self.bytes_out = Counter("commons_hub_bytes_out", "Bytes of response bodies.", registry=self.registry)

    def count(self, method: str, route: str, status: int, seconds: float, bytes_in: int, bytes_out: int) -> None:
        method = method if method in METHODS else "other"  # a stranger must not make new series
        self.requests.labels(method, route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)
        self.bytes_in.inc(bytes_in)
        self.bytes_out.inc(bytes_out)

    def text(self) -> bytes:
        if os.environ.get(SHARED):
            everybody = CollectorRegistry()
            multiprocess.MultiProcessCollector(everybody)  # type: ignore[no-untyped-call]
            return generate_latest(everybody)
        return generate_latest(self.registry)
