"""What Prometheus is told is what was measured, in its own form, and no more than is bounded."""

import asyncio
import json
import re
import shutil
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sessions.records.distribution import Distribution
from supervisor.history.outward.exposition import (
    LABELS,
    LEFT_OUT,
    Exposition,
    bounded,
    metric_name,
)
from supervisor.history.outward.requests import Requests, Served
from supervisor.history.recent import Recent
from supervisor.history.series import SERIES, Key, buckets_of

BOARD = Path(__file__).resolve().parents[3] / "docs" / "grafana.json"


class Measured:
    """As much of a history as is asked: what was taken last."""

    def __init__(self, *taken: dict[Key, float]) -> None:
        self._recent = Recent()
        for slot, figures in enumerate(taken):
            self._recent.take(figures, slot)
        self.totals = lambda: self._recent.totals


async def told(
    *taken: dict[Key, float], sessions: frozenset[str] | None = None, most: int = 1_000
) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """By name of a sample and its labels, its value, as Prometheus' own parser reads it."""
    exposition = Exposition(Measured(*taken), most)  # type: ignore[arg-type]
    text = (await exposition.text(sessions)).decode()
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in found.setdefault(sample.name, {})
            found[sample.name][labels] = sample.value
    return found


async def test_gauges_are_in_base_units_and_counts_are_totals() -> None:
    first: dict[Key, float] = {
        ("host.cpu", None): 0.25,
        ("session.messages", "shop"): 3,
        ("session.response_time_ms", "shop"): 182.5,
        ("reason.closes", "connection_lost"): 2,
        ("host.network_in_bytes", None): 1_500,
    }
    found = await told(first, first | {("session.messages", "shop"): 5})
    assert found["wasup_host_cpu_ratio"] == {(): 0.25}
    assert found["wasup_session_messages_total"] == {(("session", "shop"),): 5}
    assert found["wasup_session_response_time_seconds"] == {
        (("session", "shop"),): pytest.approx(0.1825)
    }
    assert found["wasup_reason_closes_total"] == {(("reason", "connection_lost"),): 2}
    assert found["wasup_host_network_in_bytes_per_second"] == {(): 1_500}
    assert found["wasup_fleet_messages_total"] == {(): 5}


async def test_the_fleets_total_goes_on_when_a_session_is_gone() -> None:
    both: dict[Key, float] = {("session.messages", "shop"): 3, ("session.messages", "bar"): 4}
    found = await told(both, {("session.messages", "shop"): 5})
    assert found["wasup_fleet_messages_total"] == {(): 9}


async def test_a_distribution_is_a_histogram_of_all_that_was_counted() -> None:
    took = Distribution()
    for milliseconds in (0.4, 1.5, 3.0, 250.0, 2e6):
        took.add(milliseconds)
    figures = buckets_of("route.response_ms", "GET /sessions", took.counts)
    found = await told(figures | {("route.seconds", "GET /sessions"): 2_000.5})
    route = ("route", "GET /sessions")
    buckets = {
        dict(labels)["le"]: value
        for labels, value in found["wasup_route_response_seconds_bucket"].items()
    }
    assert buckets["0.002"] == 2
    assert buckets["0.004"] == 3
    assert buckets["0.256"] == 4
    assert buckets["+Inf"] == 5
    assert sorted(buckets.values()) == list(buckets.values())
    assert found["wasup_route_response_seconds_count"] == {(route,): 5}
    assert found["wasup_route_response_seconds_sum"] == {(route,): 2_000.5}
    assert not any(name.startswith("wasup_route_seconds") for name in found)


async def test_a_key_of_some_sessions_is_told_of_those_alone() -> None:
    figures: dict[Key, float] = {
        ("host.cpu", None): 0.5,
        ("session.messages", "shop"): 1,
        ("session.messages", "bar"): 1,
        ("route.requests", "GET /sessions"): 1,
    }
    found = await told(figures, sessions=frozenset({"shop", "not-mine-and-not-there"}))
    assert found == {"wasup_session_messages_total": {(("session", "shop"),): 1}}


async def test_sessions_beyond_the_bound_are_in_the_sums_alone() -> None:
    figures: dict[Key, float] = {
        ("session.messages", f"shop-{number:04}"): 1 for number in range(50)
    }
    found = await told(figures, most=20)
    assert len(found["wasup_session_messages_total"]) == 20
    assert found["wasup_fleet_messages_total"] == {(): 50}
    assert found[LEFT_OUT] == {(): 30}
    shown, left_out = bounded(figures, None, 0)
    assert (dict(shown), left_out) == ({}, 50)


async def test_before_anything_was_measured_there_is_nothing_but_that() -> None:
    assert await told() == {LEFT_OUT: {(): 0}}


async def test_a_subject_of_any_letters_is_told_as_it_is() -> None:
    name = 'a "quoted" \\ name\nof two lines'
    found = await told({("key.requests", name): 1})
    assert found["wasup_key_requests_total"] == {(("caller", name),): 1}


def test_every_series_has_a_name_of_its_own_and_its_subject_a_label() -> None:
    names = [metric_name(series) for series in SERIES.values()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in names)
    assert {series.subject for series in SERIES.values()} <= {"none", *LABELS}


def test_every_figure_of_the_board_is_a_series() -> None:
    known = {metric_name(series) for series in SERIES.values()}
    board = json.loads(BOARD.read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    used = {name for text in expressions for name in re.findall(r"wasup_[a-z_0-9]+", text)}
    assert len(used) > 15
    unknown = {
        name
        for name in used
        if re.sub("_(total|bucket|count|sum)$", "", name) not in known | {name} & known
    }
    assert unknown == set()


PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (apt install prometheus)")
async def test_promtool_finds_nothing_to_complain_about() -> None:
    requests = Requests(None, str)
    requests.served(Served("GET", "/sessions", ("me", "me"), 200, 0.002, False, None, None))
    figures: dict[Key, float] = {
        (series.name, None if series.subject == "none" else "one"): 1.0
        for series in SERIES.values()
        if series.kind != "buckets"
    }
    exposition = Exposition(Measured(figures | requests.figures()), 10)  # type: ignore[arg-type]
    text = await exposition.text(None)
    checking = await asyncio.create_subprocess_exec(
        str(PROMTOOL), "check", "metrics", stdin=PIPE, stderr=PIPE
    )
    _, complaints = await checking.communicate(text)
    assert (checking.returncode, complaints.decode()) == (0, "")
