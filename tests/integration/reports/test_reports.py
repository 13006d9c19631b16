"""A report over real parts: its figures are the history's, its times those of the record, to the
second, in both databases; files are made by a process of their own; and it is asked for over HTTP.
"""

import asyncio
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from zoneinfo import ZoneInfo

import msgspec
import pytest
import pytest_asyncio
from pypdf import PdfReader
from sqlalchemy import URL

from sessions.model import CloseReason, SessionId
from sessions.records.incidents import Incident, ended
from sessions.store import Store, sqlite_url
from sessions.store.supervision.presence import Times
from supervisor.alerts.alerts import Alerts
from supervisor.alerts.channels.alerts_file import AlertsFile
from supervisor.alerts.notices import Language, NotDelivered
from supervisor.alerts.words.rendering import Text
from supervisor.fleet.feed import Feed
from supervisor.history.archive import Archive
from supervisor.history.history import History
from supervisor.history.points import Point
from supervisor.reports import reporter
from supervisor.reports.composing import compose
from supervisor.reports.gathering import Sources, gather
from supervisor.reports.period import DAY, HOUR, Period, between, last
from supervisor.reports.report import AlertCount, Backups, Capacity, Figure, Report
from supervisor.reports.reporter import Reporter
from supervisor.reports.shelf import Shelf
from supervisor.reports.sources import AlertsTold
from supervisor.settings import load
from supervisor.upkeep.backups.process import Ended
from supervisor.upkeep.jobs import JobFailed
from tests.api_tools import api, ask
from tests.store_tools import moved

SHOP, BAR = SessionId("shop"), SessionId("bar")
UTC = ZoneInfo("UTC")
NOW = time.time()
PERIOD: Period = last("daily", NOW, UTC)


@pytest_asyncio.fixture
async def store(url: URL) -> AsyncIterator[Store]:
    store = await Store.open(url)
    for session in (SHOP, BAR):
        await store.create_session(session, wanted=True)
    yield store
    await store.close()


async def _no_alerts(_start: float, _end: float) -> Sequence[AlertCount]:
    return ()


async def _no_capacity() -> Capacity | None:
    return None


async def _no_backups() -> Backups | None:
    return None


def sources(
    store: Store, history: History, maintenance: Sequence[tuple[float, float]] = ()
) -> Sources:
    return Sources(
        history=history,
        presence=store.presence,
        session_ids=lambda: [SHOP, BAR],
        alerts=_no_alerts,
        capacity=_no_capacity,
        backups=_no_backups,
        availability_target=0.999,
        maintenance=lambda start, end: [one for one in maintenance if start <= one[0] < end],
    )


def history_of(store: Store) -> History:
    return History(Archive(store.history_pages), lambda: NOW)


def figure(report: Report, name: str) -> Figure:
    return next(one for one in report.figures if one.name == name)


async def measured(history: History) -> None:
    """Three hours of the day: CPU grows, messages are counted, one session answers slowly."""
    total = 0
    for slot in range(3 * 360):
        total += slot % 4
        history.take(
            {
                ("host.cpu", None): slot / 3600,
                ("disk.used", "/data"): 0.5,
                ("session.messages", SHOP): total,
                ("session.errors", SHOP): slot // 100,
                ("session.response_time_ms", SHOP): 100.0,
                ("session.response_time_ms", BAR): 300.0,
            },
            PERIOD.start + 10 * slot,
        )
        if slot % 30 == 0:
            await history.write_due()
    await history.close()


async def test_figures_are_those_of_the_history(store: Store) -> None:
    history = history_of(store)
    await measured(history)
    report = compose(await gather(sources(store, history), PERIOD, NOW, "0"))
    slots = 3 * 360
    assert figure(report, "avg_cpu").value == pytest.approx((slots - 1) / 2 / 3600, abs=1e-4)
    assert figure(report, "avg_response_time").value == pytest.approx(200)
    peak = next(one for one in report.peaks if one.name == "host.cpu")
    assert peak.value == pytest.approx((slots - 1) / 3600, abs=1e-4)
    counted = await history.read("fleet.messages", None, PERIOD.start, PERIOD.end, HOUR)
    assert figure(report, "messages").value == sum(point.sum for point in counted) > 1000
    assert report.measured == pytest.approx(3 * HOUR / DAY)
    assert [(disk.directory, disk.used) for disk in report.disks] == [("/data", 0.5)]
    assert figure(report, "total_requests").value in (None, 0)


class Row(list[Point]):
    """The points of a session, of which is known whether anybody still holds them."""


class Watched(History):
    """A history that counts how many rows are held at once."""

    def __init__(self, store: Store) -> None:
        super().__init__(Archive(store.history_pages), lambda: NOW)
        self.rows = weakref.WeakValueDictionary[int, Row]()
        self.read_rows = self.most_held = 0

    async def read(
        self, series: str, subject: str | None, start: float, end: float, step_seconds: int
    ) -> tuple[Point, ...]:
        found = await super().read(series, subject, start, end, step_seconds)
        if subject is None or not series.startswith("session."):
            return found
        self.read_rows += 1
        self.most_held = max(self.most_held, len(self.rows) + 1)
        self.rows[self.read_rows] = row = Row(found)
        return cast("tuple[Point, ...]", row)


async def test_of_many_sessions_no_more_than_the_last_row_is_held(store: Store) -> None:
    history, many = Watched(store), [SessionId(f"s{number}") for number in range(40)]
    for slot in range(360):
        history.take(
            {("session.response_time_ms", session): 100.0 for session in many},
            PERIOD.start + 10 * slot,
        )
    asked = replace(sources(store, history), session_ids=lambda: many)
    report = compose(await gather(asked, PERIOD, NOW, "0"))
    assert figure(report, "avg_response_time").value == pytest.approx(100)
    assert history.read_rows == 80, "of the period, and of the one before"
    assert history.most_held <= 2


async def test_maintenance_of_a_year_is_not_reckoned_on_the_loop(store: Store) -> None:
    threads = list[threading.Thread]()

    def noted(_start: float, _end: float) -> Sequence[tuple[float, float]]:
        threads.append(threading.current_thread())
        return ()

    await gather(replace(sources(store, history_of(store)), maintenance=noted), PERIOD, NOW, "0")
    assert len(threads) == 2
    assert threading.current_thread() not in threads


async def test_times_are_exact_whatever_lasts_over_an_edge(store: Store) -> None:
    start, end = PERIOD.start, PERIOD.end
    await store.commit(moved(SHOP, "open", start - 5000))
    await store.commit(moved(SHOP, "down", start - 100))
    await store.commit(moved(SHOP, "open", start + 50.5))
    await store.commit(moved(SHOP, "off", end - 20))
    await store.commit(moved(SHOP, "open", end + 100))
    await store.commit(moved(BAR, "open", start + 40_000))
    await store.commit(moved(BAR, "down", end - 1000))
    found = await store.presence.times(start, end)
    assert found[SHOP] == pytest.approx(Times(DAY - 70.5, 50.5, 20))
    assert found[BAR] == pytest.approx(Times(DAY - 41_000, 1000, 0))
    assert await store.presence.since() == pytest.approx(start - 5000)
    report = compose(await gather(sources(store, history_of(store)), PERIOD, NOW, "0"))
    opened, down = 2 * DAY - 41_070.5, 1050.5
    assert figure(report, "availability").value == pytest.approx(opened / (opened + down))
    assert report.parts[0].availability == pytest.approx((HOUR - 50.5) / HOUR)
    assert len(report.parts) == 24


async def test_announced_maintenance_is_not_counted(store: Store) -> None:
    start = PERIOD.start
    await store.commit(moved(SHOP, "open", start - 10))
    await store.commit(moved(SHOP, "down", start + 7_200))
    await store.commit(moved(SHOP, "open", start + 7_260))
    announced = sources(store, history_of(store), [(start + 7_000, start + 7_250)])
    report = compose(await gather(announced, PERIOD, NOW, "0"))
    assert report.availability.down_seconds == pytest.approx(10)
    assert report.availability.maintenance_seconds == pytest.approx(250)


async def test_what_kept_sessions_away_counts_within_the_period(store: Store) -> None:
    start, end = PERIOD.start, PERIOD.end

    def incident(
        began_at: float, reason: CloseReason, session: SessionId | None = SHOP
    ) -> Incident:
        return Incident(
            session=session, scope="" if session else "all", began_at=began_at, reason=reason
        )

    lost, out = CloseReason.CONNECTION_LOST, CloseReason.LOGGED_OUT
    await store.records.save_incident(ended(incident(start - 50, lost), start + 10, "open"))
    await store.records.save_incident(ended(incident(start + 100, lost), start + 130, "open"))
    await store.records.save_incident(ended(incident(end - 500, out, BAR), end - 400, "parked"))
    await store.records.save_incident(ended(incident(start - 90, out), start - 60, "open"))
    await store.records.save_incident(ended(incident(start + 90, lost, None), start + 190, "open"))
    found = {(one.session, one.reason): one for one in await store.presence.away(start, end)}
    assert found[SHOP, lost][2:] == (1, pytest.approx(40))
    assert found[BAR, out][2:] == (1, pytest.approx(500)), "who is parked is still away"
    assert len(found) == 2
    (outage,) = await store.presence.outages(start, end)
    assert (outage.scope, outage.began_at) == ("all", pytest.approx(start + 90))


@pytest.fixture
async def plain(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(sqlite_url(tmp_path / "wasup.db"))
    yield store
    await store.close()


async def test_alerts_of_a_time_are_counted_also_after_a_restart(plain: Store) -> None:
    feed = await Feed.open(plain, 1000)
    alerts = Alerts(feed.publish)
    for number in range(3):
        alerts.begin(None, "cpu", "busy", "warning")
        if number < 2:
            alerts.end(None, "cpu", "calm")
    alerts.begin(SHOP, "parked", "waits", "critical")
    async with asyncio.timeout(20):
        while feed.last < 6:
            await feed.news(1)
    now = time.time()
    restarted = AlertsTold(await Feed.open(plain, 1000), Alerts(feed.publish))
    told = await restarted.counts(now - 600, now + 600)
    assert [(one.name, one.severity, one.raised, one.on) for one in told] == [
        ("parked", "critical", 1, 0),
        ("cpu", "warning", 3, 0),
    ]
    assert [one.on for one in await AlertsTold(feed, alerts).counts(now - 600, now + 600)] == [1, 1]
    assert await restarted.counts(now - 600, now - 300) == []


class Reader:
    """Somebody who wants reports."""

    def __init__(self, name: str, language: Language, trouble: str | None = None) -> None:
        self.name = name
        self.language: Language = language
        self.got: list[tuple[Text, Path]] = []
        self._trouble = trouble

    async def send_file(self, text: Text, file: Path) -> None:
        if self._trouble is not None:
            raise NotDelivered(self._trouble)
        self.got.append((text, file))


async def test_a_report_by_the_clock_is_kept_and_sent_and_who_is_away_takes_it_from_nobody(
    plain: Store, tmp_path: Path
) -> None:
    good, other = Reader("owner", "pt-BR"), Reader("ops", "en")
    wanting = [Reader("slack", "pt-BR", "no such host"), good, other]
    made = Reporter(
        sources(plain, history_of(plain)),
        Shelf(tmp_path / "reports"),
        UTC,
        lambda: "pt-BR",
        lambda kind: wanting if kind == "daily" else (),
    )
    with pytest.raises(JobFailed, match="slack: no such host"):
        await made.make("daily")
    kept = sorted(file.name for file in (tmp_path / "reports").iterdir())
    assert kept == [f"{PERIOD.name}.{form}" for form in ("en.pdf", "html", "json", "pdf")]
    ((text, file),) = good.got
    assert text.subject.startswith("Relat\u00f3rio di\u00e1rio: ")
    assert "N\u00e3o h\u00e1 dados deste per\u00edodo" in text.body
    assert "Relat\u00f3rio di\u00e1rio" in PdfReader(file).pages[0].extract_text()
    ((text, file),) = other.got
    assert "Daily report" in PdfReader(file).pages[0].extract_text()


async def test_over_http_in_every_form(plain: Store, tmp_path: Path) -> None:
    history = history_of(plain)
    await measured(history)
    made = Reporter(sources(plain, history), Shelf(tmp_path / "reports"), UTC)
    async with api(reporter=made) as address:
        answer = await ask(address, "GET", "/reports?period=daily")
        assert answer.status == 200
        report = msgspec.json.decode(answer.body, type=Report)
        assert figure(report, "avg_response_time").value == pytest.approx(200)
        page = await ask(address, "GET", "/reports", Accept="text/html,*/*;q=0.5")
        assert page.headers["content-type"].startswith("text/html")
        assert "script" not in page.headers["content-security-policy"]
        assert b"Daily report" in page.body
        pdf = await ask(address, "GET", "/reports?format=pdf&language=pt-BR")
        assert pdf.headers["content-type"] == "application/pdf"
        assert pdf.body.startswith(b"%PDF-")
        assert PERIOD.name in pdf.headers["content-disposition"]
        later = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(NOW - 7200))}"
        text = await ask(address, "GET", f"/reports?from={later}&format=text")
        assert text.status == 200
        for wrong, code in (
            ("period=yearly", "bad_request"),
            ("period=daily&from=2027-01-01T00:00:00Z", "bad_request"),
            ("to=2027-01-01T00:00:00Z", "bad_request"),
            ("from=yesterday", "bad_request"),
            ("from=2126-01-01T00:00:00Z", "invalid_report_period"),
            ("from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z", "invalid_period"),
        ):
            refused = await ask(address, "GET", f"/reports?{wrong}")
            assert (refused.status, refused.error["code"]) == (400, code), wrong
        odd = await ask(address, "GET", "/reports", Accept="image/png")
        assert odd.status == 406
        assert "application/pdf" in odd.error["hint"]


async def test_any_time_that_is_past_can_be_asked_for(plain: Store) -> None:
    long = between(NOW - 399 * DAY, NOW - 1, NOW, UTC)
    report = compose(await gather(sources(plain, history_of(plain)), long, NOW, "0"))
    assert report.empty
    assert len(report.parts) == pytest.approx(400, abs=1)


async def test_reports_are_written_one_at_a_time(
    plain: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way = most = 0

    async def counted(*command: str, given: bytes) -> Ended:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        for _ in range(20):
            await asyncio.sleep(0)
        under_way -= 1
        return Ended(0, b"written", "")

    monkeypatch.setattr(reporter, "gentle", counted)
    asked = reporter.Reporter(sources(plain, history_of(plain)), Shelf(tmp_path), UTC)
    found = await asyncio.gather(
        *(asked.file(PERIOD, "pdf") for _ in range(reporter.MOST_WAITING + 1)),
        asked.make("daily"),
        return_exceptions=True,
    )
    assert most == 1
    assert found[: reporter.MOST_WAITING] == [b"written"] * reporter.MOST_WAITING
    assert isinstance(found[-2], reporter.ReportsBusy)
    assert isinstance(found[-1], str), "the clock's waits its turn"


async def test_a_report_whose_writing_hangs_says_so(
    plain: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(*_command: str, given: bytes) -> Ended:
        return await asyncio.Future[Ended]()

    monkeypatch.setattr(reporter, "gentle", hangs)
    monkeypatch.setattr(reporter, "RENDER_SECONDS", 0.01)
    asked = reporter.Reporter(sources(plain, history_of(plain)), Shelf(tmp_path), UTC)
    with pytest.raises(reporter.ReportFailed, match="it hangs, and was called off"):
        await asked.file(PERIOD, "pdf")


async def test_maintenance_and_language_are_those_in_force_when_a_report_is_made(
    plain: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("WHATSAPP_")]:
        monkeypatch.delenv(name)
    file, nobody = AlertsFile(), cast("Any", None)
    feed = await Feed.open(plain, 1000)
    made = reporter.reporter_of(
        load().model_copy(update={"availability_target": 99.0, "time_zone": "UTC"}),
        plain,
        feed,
        history_of(plain),
        Alerts(feed.publish),
        cast("Any", SimpleNamespace(sessions=list)),
        nobody,
        nobody,
        lambda _kind: (),
        lambda: file,
    )
    before = made._sources.maintenance(PERIOD.start, PERIOD.end)
    assert (before, made._language()) == ((), "en")
    file = AlertsFile(maintenance_windows="02:00-03:00", language="pt-BR")
    after = made._sources.maintenance(PERIOD.start, PERIOD.end)
    assert sum(end - start for start, end in after) == HOUR
    assert made._language() == "pt-BR"
    assert made._sources.availability_target == pytest.approx(0.99)


def test_a_supervisor_loads_nothing_of_what_renders() -> None:
    heavy = ("jinja2", "babel", "fpdf", "PIL", "fontTools")
    asked = f"import sys, supervisor.program; print([n for n in {heavy} if n in sys.modules])"
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, check=True, text=True)
    assert told.stdout.strip() == "[]"
