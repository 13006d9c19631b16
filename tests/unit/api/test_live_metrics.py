"""What the live feed's clients befell, counted and written down."""

import json
from pathlib import Path

import pytest

from api.live.connection_log import ConnectionLog
from api.live.metrics import FeedClosures, MetricsCollector, age_of
from api.live.observer import Closure, Handshake, NoObserver, Observers, Refusal, Resync
from sessions.records.stages import StageSummary
from supervisor.process.log_files import LogFile

HOUR = 3600.0
NOON = 1_764_504_000.0


def handshake(token_seconds: float = 0.002) -> Handshake:
    return Handshake(
        transport="websocket",
        principal="painel",
        waited_seconds=0.01,
        token_seconds=token_seconds,
        capacity_seconds=0.0,
        admitted_seconds=0.0,
    )


def closure(reason: str, age_seconds: float) -> Closure:
    return Closure(
        reason=reason,
        transport="websocket",
        principal="painel",
        age_seconds=age_seconds,
        sent_events=7,
    )


def refusal(reason: str) -> Refusal:
    return Refusal(reason=reason, transport="polling", after_seconds=0.5)


def test_who_came_and_who_was_refused_is_counted_and_each_stage_is_timed() -> None:
    metrics = MetricsCollector()
    for seconds in (0.001, 0.002, 0.009):
        metrics.on_handshake(handshake(seconds))
    for reason in ("expired", "insufficient resources", "expired"):
        metrics.on_refusal(refusal(reason))
    metrics.on_closure(closure("transport close", 5.0))
    metrics.on_resync(Resync(principal="painel", queued_bytes=1))
    figures = metrics.figures()
    assert (figures.connections, figures.successes, figures.resyncs) == (2, 3, 1)
    assert figures.failures == {"expired": 2, "insufficient resources": 1}
    assert figures.handshake["token"] == StageSummary(3, 2.0, 9.0)
    assert list(figures.handshake) == ["waited", "token", "capacity", "admitted"]


def test_closures_of_the_last_day_are_told_by_reason_age_and_hour() -> None:
    now = NOON
    metrics = MetricsCollector(lambda: now)
    metrics.on_closure(closure("ping timeout", 90.0))
    now += 23 * HOUR
    metrics.on_closure(closure("transport close", 0.5))
    metrics.on_closure(closure("transport close", 30.0))
    assert metrics.figures().closures == FeedClosures(
        count=3,
        by_reason={"transport close": 2, "ping timeout": 1},
        by_age={"under an hour": 1, "under a second": 1, "under a minute": 1},
        by_hour={"2025-12-01T11:00:00.000Z": 2, "2025-11-30T12:00:00.000Z": 1},
    )
    now += HOUR
    assert metrics.figures().closures.by_reason == {"transport close": 2}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0, "under a second"), (59.9, "under a minute"), (60.0, "under an hour"), (1e6, "older")],
)
def test_an_age_in_words(seconds: float, words: str) -> None:
    assert age_of(seconds) == words


def test_each_client_is_written_down_from_its_login_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "websocket.log"
    file = LogFile(path)
    written = ConnectionLog(file, "debug")
    written.on_handshake(handshake())
    written.on_refusal(refusal("expired"))
    written.on_resync(Resync(principal="painel", queued_bytes=100))
    written.on_closure(closure("going away", 61.25))
    file.close()
    told = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["level"], line["event"]) for line in told] == [
        ("info", "admitted"),
        ("debug", "handshake"),
        ("warning", "refused"),
        ("warning", "too slow"),
        ("info", "closed"),
    ]
    assert (told[0]["client"], told[0]["tookMs"], told[1]["tokenMs"]) == ("painel", 12.0, 2.0)
    assert (told[4]["reason"], told[4]["ageSeconds"], told[4]["sentEvents"]) == (
        "going away",
        61.2,
        7,
    )


def test_an_observer_that_fails_keeps_nothing_from_the_others() -> None:
    class Failing(NoObserver):
        def on_refusal(self, refusal: Refusal) -> None:
            raise ValueError("of its own")

    metrics = MetricsCollector()
    with pytest.raises(ValueError, match="of its own"):
        Observers(Failing(), metrics).on_refusal(refusal("expired"))
    assert metrics.figures().failures == {"expired": 1}
