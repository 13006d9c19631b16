"""A report as a document of one language: titles, sentences, tables and drawings, in the order in
which they are read. HTML, PDF and text are made of it, and say the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Final, Literal

from sessions.views.times import wall_seconds
from supervisor.alerts.notices import Language
from supervisor.reports.figures import BUSIEST
from supervisor.reports.recommendations import MEASURED
from supervisor.reports.rendering.numbers import LANGUAGES, Numbers, numbers_of
from supervisor.reports.rendering.plots import Drawing, scale, thinned
from supervisor.reports.report import (
    Cause,
    Figure,
    Plot,
    Recommendation,
    Report,
    ServiceLevel,
    Unit,
)

YEAR_SECONDS: Final = 365 * 86_400
SHOWN: Final = 20
"""Sessions, the worst, and outages, the newest; the JSON has more."""
State = Literal["met", "missed", "unknown"]
_UNITS: Final[Mapping[str, Unit]] = {
    "fraction": "fraction",
    "seconds": "seconds",
    "ms": "ms",
    "bytes": "bytes",
    "count": "count",
}


@dataclass(frozen=True, slots=True)
class Level:
    """A service level in words."""

    name: str
    value: str
    target: str
    state: State
    state_words: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the document. `words`: how many columns, from the left, hold words."""

    title: str
    notes: Sequence[str] = ()
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    words: int = 1
    drawings: Sequence[Drawing] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What to do, in a sentence or two."""

    critical: bool
    severity: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """All of it."""

    language: Language
    title: str
    period: str
    made: str
    notes: Sequence[str]
    levels_title: str
    levels: Sequence[Level]
    advice_title: str
    advice: Sequence[Advice]
    nothing_to_do: str
    sections: Sequence[Section]
    page: str
    """Of how many pages; with `{number}` and `{all}`."""


def document(report: Report, language: Language) -> Document:
    """The report in words."""
    return _Writer(report, language).document()


class _Writer:
    """Writes one report."""

    def __init__(self, report: Report, language: Language) -> None:
        self._report = report
        self._language = language
        self._words: ModuleType = LANGUAGES[language]
        self._numbers: Numbers = numbers_of(report, language)

    def document(self) -> Document:
        report, say = self._report, self._say
        advice = [self._advice(one) for one in report.recommendations]
        return Document(
            language=self._language,
            title=self._words.TITLES[report.kind],
            period=self._numbers.period(report.kind, report.from_at, report.to_at),
            made=say(
                "made",
                at=self._numbers.moment(report.made_at),
                version=report.version,
                zone=report.time_zone,
            ),
            notes=list(self._notes()),
            levels_title=say("levels"),
            levels=[self._level(level) for level in report.service_levels],
            advice_title=say("recommendations"),
            advice=advice,
            nothing_to_do=say("nothing_to_do"),
            sections=list(self._sections()),
            page=self._words.PHRASES["page"],
        )

    # --- above all --------------------------------------------------------------------------------

    def _notes(self) -> Iterable[str]:
        report = self._report
        if report.empty:
            yield self._say("no_data")
        elif not report.measured:
            yield self._say("not_measured_all")
        elif report.measured < MEASURED:
            yield self._say("partly_measured", measured=self._numbers.percent(report.measured))
        if not report.complete:
            yield self._say("incomplete")
        since = report.availability.recorded_since_at
        if since is not None and since > report.from_at:
            yield self._say("recorded_since", at=self._numbers.moment(since))

    def _level(self, level: ServiceLevel) -> Level:
        state: State = "unknown" if level.met is None else "met" if level.met else "missed"
        target = self._numbers.of(level.target, level.unit)
        detail = ""
        if level.budget_seconds is not None and level.used_seconds is not None:
            detail = self._say(
                "budget",
                used=self._numbers.duration(level.used_seconds),
                budget=self._numbers.duration(level.budget_seconds),
            )
        return Level(
            self._words.LEVELS[level.name],
            self._value(level.value, level.unit),
            self._say("at_least" if level.at_least else "at_most", target=target),
            state,
            "" if state == "unknown" else self._say(state),
            detail,
        )

    def _advice(self, found: Recommendation) -> Advice:
        figures = {name: self._in_words(name, value) for name, value in found.figures.items()}
        return Advice(
            critical=found.severity == "critical",
            severity=self._say(found.severity),
            text=self._words.RECOMMENDATIONS[found.rule].format(**figures),
        )

    # --- the sections -----------------------------------------------------------------------------

    def _sections(self) -> Iterable[Section]:
        yield self._figures()
        yield from self._availability()
        drawings = [self._drawing(plot) for plot in self._report.plots]
        yield self._section("load", drawings=drawings)
        yield self._peaks()
        yield self._alerts()
        yield self._capacity()
        yield self._backups()
        yield Section(title=self._say("definitions"), notes=list(self._definitions()))

    def _definitions(self) -> Iterable[str]:
        targets = {level.name: level.target for level in self._report.service_levels}
        left, numbers = 1 - targets["availability"], self._numbers
        for note in self._words.DEFINITIONS:
            yield note.format(
                target=numbers.percent(targets["availability"]),
                month=numbers.duration(left * YEAR_SECONDS / 12),
                year=numbers.duration(left * YEAR_SECONDS),
            )

    def _figures(self) -> Section:
        report = self._report
        compared = self._numbers.period(report.kind, report.compared_from_at, report.compared_to_at)
        missing = [
            self._words.FIGURES[figure.name]
            for figure in report.figures
            if figure.value is None and figure.before is None
        ]
        notes = [self._say("compared", period=compared)]
        if missing:
            notes.append(self._say("unmeasured", names="; ".join(missing)))
        return self._section(
            "figures",
            notes=notes,
            head=("", "value", "before", "change"),
            rows=[
                (
                    self._words.FIGURES[figure.name],
                    self._value(figure.value, figure.unit),
                    self._value(figure.before, figure.unit),
                    self._change(figure),
                )
                for figure in report.figures
                if figure.value is not None or figure.before is not None
            ],
        )

    def _availability(self) -> Iterable[Section]:
        report, numbers = self._report, self._numbers
        times, notes = report.availability, []
        if times.sessions:
            notes.append(
                self._say(
                    "sessions_total",
                    sessions=numbers.count(times.sessions),
                    open=numbers.duration(times.open_seconds),
                    down=numbers.duration(times.down_seconds),
                    stopped=numbers.duration(times.stopped_seconds),
                )
            )
        if times.maintenance_seconds:
            seconds = numbers.duration(times.maintenance_seconds)
            notes.append(self._say("maintenance", seconds=seconds))
        plot = self._availability_plot()
        drawings = [] if plot is None else [self._drawing(plot)]
        yield self._section("availability", notes=notes, drawings=drawings)
        yield self._section(
            "causes",
            head=("reason", "incidents", "sessions_column", "away"),
            rows=[
                (
                    self._reason(cause.reason),
                    numbers.count(cause.incidents),
                    numbers.count(cause.sessions),
                    numbers.duration(cause.seconds),
                )
                for cause in report.causes
            ],
        )
        yield self._section(
            "sessions",
            notes=[
                self._say(
                    "sessions_more",
                    shown=numbers.count(min(SHOWN, len(report.sessions))),
                    all=numbers.count(report.sessions_away),
                )
            ]
            if report.sessions
            else [],
            head=("session", "reason", "availability", "away", "incidents"),
            words=2,
            rows=[
                (
                    one.session,
                    self._reasons(one.causes),
                    self._value(one.availability, "fraction"),
                    numbers.duration(one.down_seconds),
                    numbers.count(one.incidents),
                )
                for one in report.sessions[:SHOWN]
            ],
        )
        yield self._section(
            "outages",
            head=("scope", "reason", "began", "ended"),
            words=4,
            rows=[
                (
                    self._say("all") if one.scope == "all" else one.scope,
                    self._reason(one.reason),
                    numbers.moment(one.began_at),
                    self._say("lasts") if one.ended_at is None else numbers.moment(one.ended_at),
                )
                for one in report.outages[-SHOWN:]
            ],
        )

    def _peaks(self) -> Section:
        return self._section(
            "peaks",
            head=("", "value", "when"),
            rows=[
                (
                    self._words.SERIES[peak.name],
                    self._value(peak.value, peak.unit),
                    self._numbers.moment(peak.at),
                )
                for peak in self._report.peaks
            ],
        )

    def _alerts(self) -> Section:
        return self._section(
            "alerts",
            head=("alert", "severity", "raised", "on"),
            words=2,
            rows=[
                (
                    one.name,
                    self._say(one.severity),
                    self._numbers.count(one.raised),
                    self._numbers.count(one.on),
                )
                for one in self._report.alerts
            ],
        )

    def _capacity(self) -> Section:
        capacity, numbers = self._report.capacity, self._numbers
        if capacity is None:
            words = self._say("capacity_unknown")
        elif capacity.more_sessions is None or capacity.first_limit is None:
            words = self._say("more_unlimited", sessions=numbers.count(capacity.sessions))
        else:
            words = self._say(
                "more",
                sessions=numbers.count(capacity.sessions),
                more=numbers.count(capacity.more_sessions),
                limit=self._limit(capacity.first_limit),
            )
        return self._section(
            "capacity",
            notes=[words],
            head=("disk", "used", "full"),
            rows=[
                (
                    disk.directory,
                    numbers.percent(disk.used),
                    self._say("not_filling")
                    if disk.full_in_seconds is None
                    else numbers.duration(disk.full_in_seconds),
                )
                for disk in self._report.disks
            ],
        )

    def _backups(self) -> Section:
        backups, notes = self._report.backups, []
        if backups is None:
            notes.append(self._say("backups_unknown"))
        elif backups.last_verified_at is None:
            notes.append(self._say("no_verified"))
        else:
            at = self._numbers.moment(backups.last_verified_at)
            notes.append(self._say("last_verified", at=at))
        if backups is not None and backups.last_restore_seconds is not None:
            took = self._numbers.duration(backups.last_restore_seconds)
            notes.append(self._say("restore_took", took=took))
        return self._section("backups", notes=notes)

    # --- words ------------------------------------------------------------------------------------

    def _section(
        self,
        name: str,
        *,
        notes: Sequence[str] = (),
        head: Sequence[str] = (),
        rows: Sequence[Sequence[str]] = (),
        words: int = 1,
        drawings: Sequence[Drawing] = (),
    ) -> Section:
        """A section by its name; one without anything says so."""
        if not rows and not drawings and not notes:
            notes = [self._say("none")]
        return Section(
            title=self._say(name),
            notes=notes,
            head=[self._say(one) if one else "" for one in head],
            rows=rows,
            words=words,
            drawings=drawings,
        )

    def _say(self, phrase: str, **figures: str) -> str:
        text: str = self._words.PHRASES[phrase]
        return text.format(**figures) if figures else text

    def _value(self, value: float | None, unit: Unit) -> str:
        return self._say("unknown") if value is None else self._numbers.of(value, unit)

    def _change(self, figure: Figure) -> str:
        if figure.change is None or figure.value is None or figure.before is None:
            return ""
        if figure.unit == "fraction":
            return self._say("points", number=self._numbers.points(figure.value - figure.before))
        return self._numbers.change(figure.change)

    def _in_words(self, name: str, value: float | str) -> str:
        if isinstance(value, str):
            found = {"reason": self._reason, "limit": self._limit}.get(name)
            return value if found is None else found(value)
        return self._numbers.of(value, _UNITS[name.rpartition("_")[2]])

    def _reason(self, reason: str) -> str:
        """In words, where it is a close reason that there is."""
        known: str = self._words.REASONS.get(reason, reason)
        return known

    def _limit(self, limit: str) -> str:
        """In words, where it has any."""
        known: str = self._words.LIMITS.get(limit, limit)
        return known

    def _reasons(self, causes: Sequence[Cause]) -> str:
        return ", ".join(
            f"{self._reason(cause.reason)} ({self._numbers.duration(cause.seconds)})"
            for cause in causes
        )

    # --- drawings ---------------------------------------------------------------------------------

    def _drawing(self, plot: Plot) -> Drawing:
        start, end = wall_seconds(self._report.from_at), wall_seconds(self._report.to_at)
        bottom, top = scale(plot)
        title = (
            self._say("availability")
            if plot.name == "availability"
            else self._words.SERIES[plot.name]
        )
        if plot.name in BUSIEST:  # it tells how many there were in each step
            step = self._numbers.duration(plot.step_seconds)
            title = self._words.STEP.format(series=title, step=step)
        return Drawing(
            title,
            self._numbers.of(top, plot.unit),
            self._numbers.of(bottom, plot.unit),
            self._numbers.ticks(start, end),
            thinned(plot, start, end, bottom, top),
        )

    def _availability_plot(self) -> Plot | None:
        parts = [
            (wall_seconds(part.from_at), part.availability)
            for part in self._report.parts
            if part.availability is not None
        ]
        if not parts:
            return None
        every = [wall_seconds(part.from_at) for part in self._report.parts]
        length = every[1] - every[0] if len(every) > 1 else 3600
        points = tuple((at, value, value, value) for at, value in parts)
        return Plot("availability", "fraction", round(length), points)
