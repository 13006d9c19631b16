"""Makes reports: when they are asked for, and by the clock; those are kept as files, and sent to
whoever wants them.

Reading is done here, a report at a time; what makes files of it (templates, fonts, plots) is a
process of its own, so that nothing of it is loaded here, or keeps the loop.
"""

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal, Protocol, get_args
from zoneinfo import ZoneInfo

import msgspec
import structlog

from sessions.model import WasupError
from sessions.store import Store
from supervisor.alerts.alerts import Alerts
from supervisor.alerts.notices import Language, NotDelivered
from supervisor.fleet.feed import Feed
from supervisor.fleet.fleet import Fleet
from supervisor.history.history import History
from supervisor.places.installation import version
from supervisor.places.store_opening import data_directory
from supervisor.reports.composing import compose
from supervisor.reports.gathering import Sources, gather, no_maintenance
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A report as it is sent: in words, and the files, by their form."""

    title: str
    text: str
    files: Mapping[Form, Path]


class Recipient(Protocol):
    """Somebody who wants reports."""

    @property
    def name(self) -> str:
        """By which an operator knows it."""
        ...

    async def send_report(self, sent: Sent) -> None:
        """Send it, with a file where that can be. Raises NotDelivered."""
        ...


class Reporter:
    """All reports. `language`: of those that are made by the clock, unless another is asked for."""

    def __init__(
        self, sources: Sources, shelf: Shelf, zone: ZoneInfo, language: Language = "en"
    ) -> None:
        self.zone: Final = zone
        self.language: Final[Language] = language
        self._sources = sources
        self._shelf = shelf
        self._recipients: Sequence[Recipient] = ()
        self._one_at_a_time = asyncio.Lock()
        self._waiting = 0

    def follow(self, recipients: Sequence[Recipient]) -> None:
        """Send what is made by the clock to these from now on, and to no others."""
        self._recipients = tuple(recipients)

    async def report(self, period: Period) -> Report:
        """The report of a period.

        Raises ReportsBusy, InvalidPeriod, StoreUnavailable.
        """
        if self._waiting >= MOST_WAITING:
            raise ReportsBusy("Too many reports are being asked for.")
        self._waiting += 1
        try:
            async with self._one_at_a_time:
                gathered = await gather(self._sources, period, time.time(), version())
                return await asyncio.to_thread(compose, gathered)
        finally:
            self._waiting -= 1

    async def rendered(self, report: Report, form: Form, language: Language) -> bytes:
        """A file of a report. Raises ReportFailed."""
        encoded = await asyncio.to_thread(msgspec.json.encode, report)
        if form == "json":
            return encoded + b"\n"
        try:
            async with asyncio.timeout(RENDER_SECONDS):
                ended = await gentle(*PROGRAM, form, language, given=encoded)
        except (OSError, TimeoutError) as error:
            raise ReportFailed(f"The report could not be written as {form}: {error}.") from None
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

        Raises StoreUnavailable, ReportFailed, JobFailed (it has reached nobody), OSError.
        """
        period = last(kind, time.time(), self.zone)
        report = await self.report(period)
        files: dict[str, bytes] = {
            form: await self.rendered(report, form, self.language) for form in KEPT_FORMS
        }
        written = await asyncio.to_thread(self._shelf.put, period.name, files)
        words = f"The report of {period.name} is {written[0]}."
        if not self._recipients:
            return words
        text = (await self.rendered(report, "text", self.language)).decode()
        sent = Sent(
            title=text.partition("\n")[0],
            text=text,
            files=dict(zip(KEPT_FORMS, written, strict=True)),
        )
        return f"{words} {await self._send(sent)}"

    async def _send(self, sent: Sent) -> str:
        """To everybody who wants it, each on his own; one who cannot be reached takes it from
        nobody.
        """
        outcomes = await asyncio.gather(*(self._sent(one, sent) for one in self._recipients))
        missed = [outcome for outcome in outcomes if outcome is not None]
        if missed:
            raise JobFailed(
                f"The report is made, but was not delivered: {'; '.join(missed)}.",
                "`wasup alerts test` shows which channels work.",
            )
        return f"It was sent to {', '.join(one.name for one in self._recipients)}."

    @staticmethod
    async def _sent(recipient: Recipient, sent: Sent) -> str | None:
        """Why not, if it was not."""
        try:
            await recipient.send_report(sent)
        except NotDelivered as error:
            return f"{recipient.name}: {error.words}"
        return None


def reporter_of(
    settings: Settings,
    store: Store,
    feed: Feed,
    history: History,
    alerts: Alerts,
    fleet: Fleet,
    forecaster: Forecaster,
    backups: Backups,
) -> Reporter:
    """The reporter, as the operator wants it."""
    zone, config = settings.zone(), settings.alerting_config()
    hours = config.windows
    return Reporter(
        Sources(
            history=history,
            presence=store.presence,
            session_ids=lambda: [session.id for session in fleet.sessions()],
            alerts=AlertsTold(feed, alerts).counts,
            capacity=capacity_of(forecaster),
            backups=backups_of(backups),
            maintenance=no_maintenance
            if hours is None
            else partial(windows, hours.contains, zone=zone),
        ),
        Shelf(data_directory(settings) / "reports"),
        zone,
        config.language,
    )
