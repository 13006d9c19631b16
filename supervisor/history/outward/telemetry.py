"""OpenTelemetry: the same series, sent to a collector by OTLP over HTTP, as OpenTelemetry's own
variables of the environment say (docs/metrics.md). Without an endpoint nothing of it is loaded.

A thread of its own loads, encodes and sends: what a dead collector holds up is that thread.
"""

import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

import structlog

from sessions.records.distribution import begin_of
from supervisor.history.outward.exposition import BOUNDS, LABELS, SUM_OF, bounded
from supervisor.history.series import SERIES, Key, Series
from supervisor.places.installation import version

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import Metric, MetricsData

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
INTERVAL: Final = "OTEL_METRIC_EXPORT_INTERVAL"
DISABLED: Final = "OTEL_SDK_DISABLED"
USUAL_INTERVAL_MS: Final = 60_000
LEAST_INTERVAL_MS: Final = 1_000
SCOPE: Final = "wasup"
CLOSE_SECONDS: Final = 2.0
"""For the last figures when the program stops."""

log = structlog.get_logger("telemetry")
Totals = Callable[[], Mapping[Key, float]]


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether OpenTelemetry is asked for."""
    if environment.get(DISABLED, "").strip().lower() == "true":
        return False
    return any(environment.get(name, "").strip() for name in ENDPOINTS)


class Telemetry:
    """Sends, from now on. `totals`: the history's."""

    def __init__(self, totals: Totals, most_sessions: int) -> None:
        self._totals = totals
        self._most_sessions = most_sessions
        self._began_ns = time.time_ns()
        self._stopping = threading.Event()
        self._failing = False
        # a daemon: a collector that hangs must not keep the program from its end
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Send the last figures, for a moment at the most."""
        self._stopping.set()
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        # What it has to say of each failure is said here, once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        try:
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
            from opentelemetry.sdk.metrics.export import MetricExportResult
            from opentelemetry.sdk.resources import Resource

            exporter = OTLPMetricExporter()
            named = {"service.name": SCOPE, "service.version": version()}
            resource = Resource.create({**named, **_named_by(os.environ)})
        except Exception as error:  # a variable of theirs that cannot be read, above all
            log.error(
                "OpenTelemetry cannot be set up, and nothing is sent: look at its OTEL_ variables",
                action="telemetry_failed",
                error=f"{type(error).__name__}: {error}",
            )
            return
        seconds, last = _interval_seconds(os.environ), False
        while not last:
            last = self._stopping.wait(seconds)
            try:
                data = told(self._totals(), self._most_sessions, resource, self._began_ns)
                worked = exporter.export(data) is MetricExportResult.SUCCESS
                error_told = None if worked else "the collector does not take them"
            except Exception as error:  # the next figures may go through
                error_told = f"{type(error).__name__}: {error}"
            self._went(error_told)

    def _went(self, error: str | None) -> None:
        if error is not None and not self._failing:
            log.warning(
                "figures cannot be sent to OpenTelemetry's collector; it is tried again",
                action="telemetry_failed",
                error=error,
            )
        elif error is None and self._failing:
            log.info("figures are sent to OpenTelemetry's collector again", action="telemetry_sent")
        self._failing = error is not None


def _named_by(environment: Mapping[str, str]) -> dict[str, str]:
    """OpenTelemetry lets what a program says of itself win over its own variable for it."""
    name = environment.get("OTEL_SERVICE_NAME", "").strip()
    return {"service.name": name} if name else {}


def _interval_seconds(environment: Mapping[str, str]) -> float:
    given = environment.get(INTERVAL, "").strip()
    if given.isascii() and given.isdigit() and int(given) >= LEAST_INTERVAL_MS:
        return int(given) / 1000
    if given:
        log.warning(
            f"{INTERVAL} is {given[:40]!r}: milliseconds, at least {LEAST_INTERVAL_MS};"
            f" {USUAL_INTERVAL_MS} is used",
            action="telemetry_interval",
        )
    return USUAL_INTERVAL_MS / 1000


def told(
    totals: Mapping[Key, float], most_sessions: int, resource: Any, began_ns: int
) -> "MetricsData":
    """The figures as OpenTelemetry has them."""
    from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    shown, _ = bounded(totals, None, most_sessions)
    by_series = defaultdict[str, dict[str | None, dict[int, float]]](lambda: defaultdict(dict))
    for (name, subject), value in shown.items():
        series, _, bucket = name.partition("#")
        by_series[series][subject][int(bucket or 0)] = value
    now_ns = time.time_ns()
    found = [
        _metric(SERIES[name], subjects, shown, began_ns, now_ns)
        for name, subjects in by_series.items()
    ]
    scope = ScopeMetrics(InstrumentationScope(SCOPE), found, "")
    return MetricsData([ResourceMetrics(resource, [scope], "")])


def _metric(
    series: Series,
    subjects: Mapping[str | None, Mapping[int, float]],
    shown: Mapping[Key, float],
    began_ns: int,
    now_ns: int,
) -> "Metric":
    from opentelemetry.sdk.metrics.export import (
        AggregationTemporality,
        Gauge,
        Histogram,
        HistogramDataPoint,
        Metric,
        NumberDataPoint,
        Sum,
    )

    def labels(subject: str | None) -> dict[str, str]:
        return {} if subject is None else {LABELS[series.subject]: subject}

    data: Gauge | Sum | Histogram
    whole = AggregationTemporality.CUMULATIVE
    if series.kind == "buckets":
        unknown = cast("float", None)  # the protocol lets the least and the greatest be left out
        scale = 1000 if series.unit == "ms" else 1  # sums are in seconds
        histograms = [
            HistogramDataPoint(
                labels(subject),
                began_ns,
                now_ns,
                count=int(sum(counts.values())),
                sum=scale * shown.get((SUM_OF.get(series.name, ""), subject), 0.0),
                bucket_counts=_between_bounds(counts),
                explicit_bounds=[begin_of(bound) for bound in BOUNDS],
                min=unknown,
                max=unknown,
            )
            for subject, counts in subjects.items()
        ]
        data = Histogram(histograms, whole)
    else:
        numbers = [
            NumberDataPoint(labels(subject), began_ns, now_ns, values[0])
            for subject, values in subjects.items()
        ]
        data = Sum(numbers, whole, True) if series.kind == "count" else Gauge(numbers)
    return Metric(f"{SCOPE}.{series.name}", series.words, series.unit, data)


def _between_bounds(counts: Mapping[int, float]) -> list[int]:
    """How many there were between each bound and the next."""
    found = [0] * (len(BOUNDS) + 1)
    for bucket, count in counts.items():
        found[sum(bucket >= bound for bound in BOUNDS)] += int(count)
    return found
