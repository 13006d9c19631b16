"""The figures in Prometheus' words: names, labels, histograms, and what of a large fleet is told.

Prometheus wants base units and totals: milliseconds become seconds, and counts are those since the
supervisor started. What changes every ten seconds is put into words once for all who ask.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from sessions.records.distribution import GREATEST, PER_DOUBLING, begin_of
from supervisor.history.history import History
from supervisor.history.series import SERIES, Key, Series, series_of

if TYPE_CHECKING:
    from prometheus_client import Metric

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
LABELS: Final[Mapping[str, str]] = {
    "disk": "directory",
    "key": "caller",
    "reason": "reason",
    "route": "route",
    "session": "session",
    "state": "state",
    "statement": "statement",
    "webhook": "webhook",
}
"""By kind of subject, the label that says whose a figure is."""
SUM_OF: Final[Mapping[str, str]] = {
    "api.response_ms": "api.seconds",
    "route.response_ms": "route.seconds",
    "statement.took_ms": "statement.seconds",
}
"""By distribution, the series that is the sum of its figures."""
LEFT_OUT: Final = "wasup_metrics_sessions_left_out"
BOUNDS: Final = range(1 + PER_DOUBLING, GREATEST, PER_DOUBLING)
"""Buckets whose begins are the bounds of histograms: 2 ms, 4 ms, 8 ms ..."""


class Exposition:
    """What Prometheus is told. `most_sessions`: so many sessions have series of their own, the
    first by name; the sums over all (`fleet`) count the others, too.
    """

    def __init__(self, history: History, most_sessions: int) -> None:
        self._history = history
        self._most_sessions = most_sessions
        self._one_at_a_time = asyncio.Lock()
        self._last: tuple[Mapping[Key, float], bytes] | None = None

    async def text(self, sessions: Collection[str] | None) -> bytes:
        """All figures; or of these sessions, and nothing of what is the fleet's."""
        if sessions is not None:
            return await asyncio.to_thread(self._text, self._history.totals(), sessions)
        async with self._one_at_a_time:
            totals = self._history.totals()
            if self._last is None or self._last[0] is not totals:
                self._last = totals, await asyncio.to_thread(self._text, totals, None)
            return self._last[1]

    def _text(self, totals: Mapping[Key, float], sessions: Collection[str] | None) -> bytes:
        # here alone: most have no Prometheus, and do without loading its library
        from prometheus_client import generate_latest
        from prometheus_client.registry import Collector

        class Told(Collector):
            def collect(collector) -> "Iterator[Metric]":
                return metrics(totals, sessions, self._most_sessions)

        return generate_latest(Told())


def metrics(
    totals: Mapping[Key, float], sessions: Collection[str] | None, most_sessions: int
) -> "Iterator[Metric]":
    """The figures as metrics: for who sees all, or only these sessions."""
    from prometheus_client import Metric

    shown, left_out = bounded(totals, sessions, most_sessions)
    by_series = defaultdict[str, dict[str | None, dict[int, float]]](lambda: defaultdict(dict))
    for (name, subject), value in shown.items():
        whole, _, bucket = name.partition("#")
        by_series[whole][subject][int(bucket or 0)] = value
    sums = set(SUM_OF.values())
    for name, subjects in sorted(by_series.items()):
        if name in sums:
            continue
        series = SERIES[name]
        metric = Metric(metric_name(series), series.words, _KINDS[series.kind])
        for subject, values in subjects.items():
            labels = {LABELS[series.subject]: subject} if subject is not None else {}
            if series.kind == "buckets":
                _add_histogram(metric, labels, values, shown.get((SUM_OF.get(name, ""), subject)))
            else:
                suffix = "_total" if series.kind == "count" else ""
                metric.add_sample(metric.name + suffix, labels, _scale(series) * values[0])
        yield metric
    if sessions is None:
        metric = Metric(LEFT_OUT, "sessions that have no series of their own here", "gauge")
        metric.add_sample(LEFT_OUT, {}, left_out)
        yield metric


_KINDS: Final = {"gauge": "gauge", "count": "counter", "buckets": "histogram"}


def bounded(
    totals: Mapping[Key, float], sessions: Collection[str] | None, most_sessions: int
) -> tuple[Mapping[Key, float], int]:
    """What is told of the figures, and how many sessions are left out."""
    names = {subject for name, subject in totals if series_of(name).subject == "session"}
    if sessions is not None:
        names &= set(sessions)
    seen = set(sorted(name for name in names if name is not None)[:most_sessions])
    return {
        key: value
        for key, value in totals.items()
        if (sessions is None if series_of(key[0]).subject != "session" else key[1] in seen)
    }, len(names) - len(seen)


def metric_name(series: Series) -> str:
    """A series' name in Prometheus, without the `_total` of counts."""
    name = "wasup_" + series.name.replace(".", "_")
    if series.unit == "ms":
        return name.removesuffix("_ms") + "_seconds"
    if series.unit == "fraction":
        return name + "_ratio"
    return name + "_per_second" if series.unit.endswith("/s") else name


def _scale(series: Series) -> float:
    return 0.001 if series.unit == "ms" else 1.0


def _add_histogram(
    metric: "Metric", labels: Mapping[str, str], counts: Mapping[int, float], whole: float | None
) -> None:
    """Counts by bucket as Prometheus' cumulative ones, in seconds. `whole`: the sum, if known."""
    count = 0.0
    numbers = iter(sorted(counts))
    number = next(numbers, None)
    for bound in BOUNDS:
        while number is not None and number < bound:
            count += counts[number]
            number = next(numbers, None)
        metric.add_sample(
            f"{metric.name}_bucket", {**labels, "le": f"{begin_of(bound) / 1000:g}"}, count
        )
    count = sum(counts.values())
    metric.add_sample(f"{metric.name}_bucket", {**labels, "le": "+Inf"}, count)
    metric.add_sample(f"{metric.name}_count", dict(labels), count)
    if whole is not None:
        metric.add_sample(f"{metric.name}_sum", dict(labels), whole)
