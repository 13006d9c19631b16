"""Makes reports: when they are asked for, and by the clock; those are kept as files, and sent to
whoever wants them.

One report is read and written at a time; what makes files of it (templates, fonts, plots) is a
process of its own, so that nothing of it is loaded here, or keeps the loop.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Literal, Protocol, get_args
from zoneinfo import ZoneInfo

import msgspec
import structlog

from sessions.forever import describe
from sessions.model import WasupError
from sessions.store import Store
from supervisor.alerts.alerts import Alerts
from supervisor.alerts.channels.alerts_file import AlertsFile
from supervisor.alerts.notices import Language, NotDelivered
from supervisor.alerts.words.rendering import Text
from supervisor.fleet.feed import Feed
from supervisor.fleet.fleet import Fleet
from supervisor.history.history import History
from supervisor.places.installation import version
from supervisor.places.store_opening import data_directory
from supervisor.reports.composing import compose
from supervisor.reports.gathering import Sources, gather
from supervisor.reports.period import REGULAR, Period, Regular, last, windows
from supervisor.reports.report import Report
from supervisor.reports.shelf import Shelf
from supervisor.reports.sources import AlertsTold, backups_of, capacity_of
from supervisor.settings import Settings
from supervisor.upkeep.backups.backups import Backups
from supervisor.upkeep.backups.process import gentle
from supervisor.upkeep.jobs import Job, JobFailed
from supervisor.watch.forecasting import Forecaster

Form = Literal["json", "html", "pdf", "text"]
FORMS: Final[tuple[Form, ...]] = get_args(Form)
KEPT_FORMS: Final[tuple[Form, ...]] = ("html", "pdf", "json")
PROGRAM: Final = (sys.executable, "-m", "supervisor.reports.rendering.program")
RENDER_SECONDS: Final = 180.0
"""It yields to everybody: on a busy machine seconds become minutes."""
SEND_SECONDS: Final = 120.0
MOST_WAITING: Final = 4
"""Who asks when so many wait already is asked to come again."""

log = structlog.get_logger("reports")


class ReportsBusy(WasupError):
    """Too many reports are asked for at once."""

    code = "reports_busy"
    hint = "Ask again in a minute: reports are made one at a time."


class ReportFailed(WasupError):
    """A file could not be made of the report."""

    code = "report_failed"
    hint = "Ask for format=json, and see the supervisor's log."


class Reader(Protocol):
    """Somebody who wants reports: a channel of alerts."""

    @property
    def name(self) -> str:
        """By which an operator knows it."""
        ...

    @property
    def language(self) -> Language:
        """In which it reads."""
        ...

    async def send_file(self, text: Text, file: Path) -> None:
        """Send these words, and the file where that can be. Raises NotDelivered."""
        ...


Readers = Callable[[Regular], Sequence[Reader]]
"""Who wants the reports of a kind, as it is sent."""


class Reporter:
    """All reports. `language`: of those that are made by the clock, unless another is asked for."""

    def __init__(
        self,
        sources: Sources,
        shelf: Shelf,
        zone: ZoneInfo,
        language: Callable[[], Language] = lambda: "en",
        readers: Readers = lambda _kind: (),
    ) -> None:
        self.zone: Final = zone
        self._language = language
        self._sources = sources
        self._shelf = shelf
        self._readers = readers
        self._one_at_a_time = asyncio.Lock()
        self._waiting = 0

    async def file(self, period: Period, form: Form, language: Language | None = None) -> bytes:
        """The report of a period as a file; `language` None: the one that the operator wants.

        Raises ReportsBusy, InvalidPeriod, StoreUnavailable, ReportFailed.
        """
        if self._waiting >= MOST_WAITING:
            raise ReportsBusy("Too many reports are being asked for.")
        self._waiting += 1
        try:
            async with self._one_at_a_time:
                report = await self._report(period)
                return await self._rendered(report, form, language or self._language())
        finally:
            self._waiting -= 1

    async def _report(self, period: Period) -> Report:
        gathered = await gather(self._sources, period, time.time(), version())
        return await asyncio.to_thread(compose, gathered)

    async def _rendered(self, report: Report, form: Form, language: Language) -> bytes:
        encoded = await asyncio.to_thread(msgspec.json.encode, report)
        if form == "json":
            return encoded + b"\n"
        try:
            async with asyncio.timeout(RENDER_SECONDS):
                ended = await gentle(*PROGRAM, form, language, given=encoded)
        except (OSError, TimeoutError) as error:
            raise ReportFailed(
                f"The report could not be written as {form}: {describe(error)}."
            ) from None
        if ended.status:
            log.error(
                "a report could not be written",
                action="report_failed",
                form=form,
                error=ended.trouble,
            )
            raise ReportFailed(f"The report could not be written as {form}.")
        return ended.output

    # --- by the clock -----------------------------------------------------------------------------

    def jobs(self, schedules: Mapping[Regular, str]) -> tuple[Job, ...]:
        """A job for each kind, at those times."""
        return tuple(
            Job(
                f"report-{kind}",
                schedules[kind],
                partial(self.make, kind),
                what=f"Make the {kind} report, keep it, and send it to those who want it.",
            )
            for kind in REGULAR
        )

    async def make(self, kind: Regular) -> str:
        """Make the report of the last whole day, week or month; what was done, in words.

        Raises StoreUnavailable, ReportFailed, JobFailed (somebody was not reached), OSError.
        """
        period, readers = last(kind, time.time(), self.zone), self._readers(kind)
        texts, own = dict[Language, Text](), self._language()
        async with self._one_at_a_time:  # it waits its turn, however many ask
            report = await self._report(period)
            files: dict[str, bytes] = {
                form: await self._rendered(report, form, own) for form in KEPT_FORMS
            }
            for language in dict.fromkeys(reader.language for reader in readers):
                texts[language] = _text(await self._rendered(report, "text", language))
                if language != own:
                    files[f"{language}.pdf"] = await self._rendered(report, "pdf", language)
        written = await asyncio.to_thread(self._shelf.put, period.name, files)
        words = f"The report of {period.name} is {written['html']}."
        if not readers:
            return words
        outcomes = await asyncio.gather(
            *(
                _sent(
                    reader,
                    texts[reader.language],
                    written.get(f"{reader.language}.pdf", written["pdf"]),
                )
                for reader in readers
            )
        )
        missed = [outcome for outcome in outcomes if outcome is not None]
        if missed:
            raise JobFailed(
                f"{words} It has not reached everybody: {'; '.join(missed)}.",
                "`wasup alerts test` shows which channels work.",
            )
        return f"{words} It was sent to {', '.join(reader.name for reader in readers)}."


async def _sent(reader: Reader, text: Text, file: Path) -> str | None:
    """Why one was not reached, if so: it takes the report from nobody else."""
    try:
        async with asyncio.timeout(SEND_SECONDS):
            await reader.send_file(text, file)
    except NotDelivered as error:
        return f"{reader.name}: {error.words}"
    except TimeoutError:
        return f"{reader.name}: it has not taken it within {SEND_SECONDS:.0f} s"
    return None


def _text(content: bytes) -> Text:
    """As a channel sends it: its first line is the subject."""
    body = content.decode()
    return Text(body.partition("\n")[0], body)


def reporter_of(
    settings: Settings,
    store: Store,
    feed: Feed,
    history: History,
    alerts: Alerts,
    fleet: Fleet,
    forecaster: Forecaster,
    backups: Backups,
    readers: Readers,
    file: Callable[[], AlertsFile],
) -> Reporter:
    """The reporter, as the operator wants it. `file`: the one in force as a report is made; it
    says, too, when maintenance is announced, and in which language alerts are told.
    """
    zone = settings.zone()

    def announced(start: float, end: float) -> Sequence[tuple[float, float]]:
        hours = settings.alerting_config(file()).windows
        return () if hours is None else windows(hours.contains, start, end, zone)

    return Reporter(
        Sources(
            history=history,
            presence=store.presence,
            session_ids=lambda: [session.id for session in fleet.sessions()],
            alerts=AlertsTold(feed, alerts).counts,
            capacity=capacity_of(forecaster),
            backups=backups_of(backups),
            availability_target=settings.availability_target / 100,
            maintenance=announced,
        ),
        Shelf(data_directory(settings) / "reports"),
        zone,
        lambda: settings.alerting_config(file()).language,
        readers,
    )
