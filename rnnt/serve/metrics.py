"""What the server counts, in Prometheus' text format."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The counts of one server. Each has a name that begins with rnnt_."""

    def __init__(self):
        self.registry = registry = CollectorRegistry()
        self.streams = Gauge("rnnt_streams", "streams that are open", registry=registry)
        self.files = Gauge("rnnt_files", "recordings that wait or are transcribed", registry=registry)
        self.lag = Gauge("rnnt_lag_seconds", "age of the oldest audio of a stream that waits", registry=registry)
        self.batch = Histogram(
            "rnnt_batch_size", "streams or recordings of one batch", ["kind"], buckets=_COUNTS, registry=registry
        )
        self.waited = Histogram(
            "rnnt_wait_seconds", "time from audio to its batch", ["kind"], buckets=_SECONDS, registry=registry
        )
        self.computed = Histogram(
            "rnnt_compute_seconds", "time of one batch", ["kind"], buckets=_SECONDS, registry=registry
        )
        self.audio = Counter("rnnt_audio_seconds", "audio that was transcribed", ["kind"], registry=registry)
        self.errors = Counter("rnnt_errors", "requests and streams that failed", ["reason"], registry=registry)

    def text(self) -> bytes:
        """Return all counts as Prometheus reads them."""
        return generate_latest(self.registry)
