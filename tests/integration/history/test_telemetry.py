"""OpenTelemetry's figures, as a collector gets them over HTTP; and one that is dead harms nothing."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from queue import Queue

import pytest
import structlog
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from sessions.records.distribution import Distribution
from supervisor.history.outward import telemetry
from supervisor.history.outward.telemetry import Telemetry
from supervisor.history.series import Key, buckets_of


class Collector:
    """As much of a collector as takes figures."""

    def __init__(self) -> None:
        taken = self.taken = Queue[tuple[str, ExportMetricsServiceRequest]]()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                taken.put((self.path, ExportMetricsServiceRequest.FromString(body)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_of_it: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


TOOK = Distribution()
for milliseconds in (0.5, 3.0, 3.0, 9e5):
    TOOK.add(milliseconds)
FIGURES: dict[Key, float] = {
    ("host.cpu", None): 0.25,
    ("session.messages", "shop"): 7,
    ("session.messages", "zoo"): 9,
    ("route.seconds", "GET /sessions"): 0.5,
    **buckets_of("route.response_ms", "GET /sessions", TOOK.counts),
}


def test_a_collector_gets_the_series_as_they_are(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address)
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "3600000")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=staging")
    Telemetry(lambda: FIGURES, most_sessions=1).close()  # what is left is sent at the end
    path, request = collector.taken.get(timeout=60)
    assert path == "/v1/metrics"
    (resource,) = request.resource_metrics
    told = {one.key: one.value.string_value for one in resource.resource.attributes}
    assert told["service.name"] == "wasup"
    assert told["deployment.environment"] == "staging"
    found = {metric.name: metric for metric in resource.scope_metrics[0].metrics}
    assert found["wasup.host.cpu"].gauge.data_points[0].as_double == 0.25
    messages = found["wasup.session.messages"].sum
    assert messages.is_monotonic
    (point,) = messages.data_points  # of the second there is no series: one is the bound
    assert (point.attributes[0].value.string_value, point.as_double or point.as_int) == ("shop", 7)
    (histogram,) = found["wasup.route.response_ms"].histogram.data_points
    assert histogram.count == sum(histogram.bucket_counts) == 4
    assert len(histogram.bucket_counts) == len(histogram.explicit_bounds) + 1
    assert histogram.sum == 500.0
    by_bound = dict(zip(histogram.explicit_bounds, histogram.bucket_counts, strict=False))
    assert (by_bound[2.0], by_bound[4.0]) == (1, 2)


def test_a_dead_collector_is_told_of_once_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setattr(telemetry, "_interval_seconds", lambda _environment: 0.01)
    asked = 0

    def totals() -> dict[Key, float]:
        nonlocal asked
        asked += 1
        return FIGURES

    with structlog.testing.capture_logs() as logged:
        sending = Telemetry(totals, 10)
        deadline = time.monotonic() + 60
        while asked < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        sending.close()
    assert asked >= 3
    assert [line["action"] for line in logged] == ["telemetry_failed"]


def test_it_is_wanted_where_an_endpoint_is_named_and_it_is_not_disabled() -> None:
    assert not telemetry.wanted({})
    assert not telemetry.wanted({"OTEL_EXPORTER_OTLP_ENDPOINT": " "})
    assert telemetry.wanted({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://collector:4318"})
    both = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "true"}
    assert not telemetry.wanted(both)


@pytest.mark.parametrize(
    ("given", "seconds"), [("", 60.0), ("15000", 15.0), ("fast", 60.0), ("10", 60.0)]
)
def test_an_interval_that_cannot_be_is_told_and_the_usual_one_is_used(
    given: str, seconds: float
) -> None:
    with structlog.testing.capture_logs() as logged:
        assert telemetry._interval_seconds({"OTEL_METRIC_EXPORT_INTERVAL": given}) == seconds
    assert len(logged) == (given in {"fast", "10"})
