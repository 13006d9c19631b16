"""The benchmark of the monitor's readings, with few connections: that it measures, not how fast."""

import psutil
import pytest

from scripts.bench import connections
from scripts.bench.report import Report
from supervisor.host.reading.connections import count_connections


def test_it_opens_real_connections_measures_and_leaves_nobody_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "READINGS", 3)
    # fixtures of the whole run have processes, too
    report, before = Report(), set(psutil.Process().children())
    connections.measure(report, count=40)
    assert [figure.what for figure in report.figures] == [
        "count 40 sockets (20 connections, both ends)",
        "count 80 sockets (40 connections, both ends)",
    ]
    assert all(sample > 0 for figure in report.figures for sample in figure.samples)
    assert set(psutil.Process().children()) - before == set()


def test_the_connections_are_those_that_are_counted() -> None:
    with connections.connected(30) as port:
        found = count_connections({port})
        # Whoever used this port a minute ago may still wait in TIME_WAIT: those are counted, too,
        # but they are no open connections.
        assert found.websockets == 30
        assert found.by_port[port] >= 60
    assert count_connections({port}).websockets == 0


def test_too_many_for_a_process_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections.resource, "getrlimit", lambda _: (100, 100))
    with (
        pytest.raises(connections.CannotMeasure, match="a process may have 100 descriptors here"),
        connections.connected(50),
    ):
        pass
