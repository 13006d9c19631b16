"""A notice in words: a subject and a text, in a language, with the times of a time zone. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from types import ModuleType
from typing import Final

from sessions.views.times import duration
from supervisor.alerts.alerts import Alert
from supervisor.alerts.notices import Language, Notice
from supervisor.alerts.rules import OUTAGE, rule_of
from supervisor.alerts.words import english, portuguese

LANGUAGES: Final[Mapping[Language, ModuleType]] = {"en": english, "pt-BR": portuguese}
MOST_SHOWN: Final = 10
"""Alerts of one kind; of the others the number is told."""


@dataclass(frozen=True, slots=True)
class Text:
    """What is sent: `subject` is one line, and says the whole where there is room for no more."""

    subject: str
    body: str


def render(notice: Notice, language: Language = "en", zone: tzinfo | None = None) -> Text:
    """The notice in words. `zone`: of the times; None: the host's."""
    return _Words(language, zone).notice(notice)


def trial(channel: str, language: Language = "en") -> Text:
    """What a channel is sent to see whether it works."""
    words = _Words(language, None).trial(channel)
    return Text(f"[wasup] {words}", f"[wasup] {words}\n")


def title(alerts: Sequence[Alert], language: Language = "en") -> str:
    """Alerts of one rule in a line."""
    return _Words(language, None).title(alerts)


def action(alert: Alert, language: Language = "en") -> str:
    """What an operator does about it."""
    return _Words(language, None).action(alert)


class _Words:
    """One language's."""

    def __init__(self, language: Language, zone: tzinfo | None) -> None:
        words = LANGUAGES[language]
        self._titles: Mapping[str, tuple[str, str]] = words.TITLES
        self._actions: Mapping[str, str] = words.ACTIONS
        self._phrases: Mapping[str, str] = words.PHRASES
        self._zone = zone

    def notice(self, notice: Notice) -> Text:
        on = (*notice.new, *notice.goes_on)
        if notice.group == "summary":
            passed = len(notice.ended) + len(notice.passed)
            head = self._phrases["summary"].format(on=len(on), passed=passed)
        else:
            head = self.title(on or notice.ended or notice.passed)
        stage = "over" if notice.is_over else notice.severity
        subject = f"[{self._phrases[stage]}] {head}"
        if notice.repeated:
            subject = f"[{self._phrases[stage]}, {self._phrases['again']}] {head}"
        lines = [subject, ""]
        for group in _by_rule(notice.new or notice.goes_on):
            if notice.group == "summary":
                lines.append(f"{self.title(group)}:")
            lines += self._listed(group, notice.flapping)
            lines += [self._phrases["do"].format(action=self.action(group[0]))]
            lines += [self._phrases["runbook"].format(runbook=rule_of(group[0]).runbook), ""]
        if notice.new and notice.goes_on:
            lines += [self._phrases["goes_on"].format(count=len(notice.goes_on)), ""]
        for phrase, alerts in (("ended", notice.ended), ("passed", notice.passed)):
            if alerts:
                lines += [self._phrases[phrase], *self._listed(alerts, {}), ""]
        return Text(subject, "\n".join(lines).strip() + "\n")

    def trial(self, channel: str) -> str:
        return self._phrases["test"].format(name=channel)

    def title(self, alerts: Sequence[Alert]) -> str:
        first = alerts[0]
        one, many = self._titles[rule_of(first).name]
        value = sum(alert.value or 0 for alert in alerts) if first.name == OUTAGE else first.value
        who = self._phrases["session"].format(session=first.session) if first.session else ""
        text = (one if len(alerts) == 1 else many).format(
            who=who, count=len(alerts), about=first.about or "", value=f"{value or 0:g}"
        )
        return text[:1].upper() + text[1:]

    def action(self, alert: Alert) -> str:
        words = self._actions[rule_of(alert).name].format(about=alert.about or "ID")
        return words.replace(" ID`", f" {alert.session or 'ID'}`")

    def _listed(self, alerts: Sequence[Alert], flapping: Mapping[str, int]) -> list[str]:
        lines = [self._line(alert, flapping.get(alert.id)) for alert in alerts[:MOST_SHOWN]]
        if len(alerts) > MOST_SHOWN:
            more = self._phrases["others"].format(count=len(alerts) - MOST_SHOWN)
            lines.append(f"- {more}")
        return lines

    def _line(self, alert: Alert, times: int | None) -> str:
        who = f"{alert.session}: " if alert.session else ""
        if times is not None:
            when = self._phrases["flapping"].format(count=times)
        elif alert.ended_at is None or alert.state == "happened":
            when = self._time(alert.began_at)
            if alert.ended_at is None:
                when = self._phrases["since"].format(time=when)
        else:
            seconds = (_parse(alert.ended_at) - _parse(alert.began_at)).total_seconds()
            when = self._phrases["lasted"].format(duration=duration(seconds))
        return f"- {who}{_one_line(alert.message)} ({when})"

    def _time(self, instant: str) -> str:
        return _parse(instant).astimezone(self._zone).strftime("%Y-%m-%d %H:%M %Z").strip()


def _by_rule(alerts: Sequence[Alert]) -> list[list[Alert]]:
    groups = dict[str, list[Alert]]()
    for alert in alerts:
        groups.setdefault(rule_of(alert).name, []).append(alert)
    return list(groups.values())


def _one_line(text: str) -> str:
    """Without what could steer a terminal or end a header early."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _parse(instant: str) -> datetime:
    return datetime.fromisoformat(instant)
